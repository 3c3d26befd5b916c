"""The daily monitoring: a day is measured and guarded, figures and report are kept, and people told what is wrong."""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, time

from src import alerts
from src.core.day_figures import DayFigures, Guarded
from src.errors import RegistryError
from src.monitoring import guard
from src.monitoring.day import measure_day
from src.monitoring.report import to_html, to_text
from src.registry import Registry
from src.settings import MonitoringSettings, read_settings
from src.storage.prediction_log import Faults

log = logging.getLogger(__name__)


def run(registry: Registry, day: date) -> DayFigures:
    """Measure a day (UTC) and keep what came out, in place of what an earlier run of that day found.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    measured = measure_day(registry, day)
    figures = measured.figures.model_copy(update={"guard": _guard(registry, day)})
    registry.bucket.put(figures.key.replace(".json", ".html"), to_html(replace(measured, figures=figures)))
    registry.bucket.put(figures.key, figures.to_json())  # last: who reads the figures finds the report
    for line in to_text(figures).splitlines():
        log.info("%s", line)
    _alert(figures, day)
    return figures


def _guard(registry: Registry, day: date) -> Guarded | None:
    """Let the guard judge the champion, and act where it may."""
    verdict = guard.judge(registry, day, Faults())  # what cannot be read is named by the day's own figures
    if verdict is None:
        return None
    is_rolled_back = verdict.is_worse and read_settings(MonitoringSettings).guard == "rollback"
    if is_rolled_back:
        try:
            guard.roll_back(registry, verdict)
        except RegistryError as error:  # a person was first
            log.warning("the guard did not act: %s", error)
            is_rolled_back = False
    return verdict.describe(is_rolled_back)


def _alert(figures: DayFigures, day: date) -> None:
    """Tell of drift and of a worse champion, or that they are over; a day without rows says nothing of drift."""
    since = datetime.combine(day, time(), UTC)
    if figures.guard and figures.guard.is_worse:
        command = "history --last 2" if figures.guard.rolled_back else "rollback"
        alerts.raise_alert(alerts.GUARD, figures.guard.told, since, f"python -m src.registry {command}")
    else:
        alerts.clear(alerts.GUARD)
    if figures.drift and figures.drift.alarms:
        what = f"{', '.join(figures.drift.alarms)} drifted from what release {figures.release} was trained on"
        alerts.raise_alert(alerts.DRIFT, what, since, f"python -m src.monitoring run --date {day}")
    elif figures.drift:
        alerts.clear(alerts.DRIFT)
