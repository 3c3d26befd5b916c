"""The daily monitoring: a day is measured and guarded, figures and report are kept, and people told what is wrong."""

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any

from src import alerts
from src.core.day_figures import FOLDER, DayFigures, is_figures
from src.errors import IntegrityError, MissingError, RegistryError
from src.monitoring import guard
from src.monitoring.day import measure_day
from src.monitoring.report import to_html, to_text
from src.registry import Registry
from src.settings import MonitoringSettings, read_settings
from src.storage.prediction_log import Faults

log = logging.getLogger(__name__)
CANNOT_JUDGE = "the guard cannot judge"


def run(registry: Registry, day: date) -> DayFigures:
    """Measure a day (UTC) and keep what came out, in place of what an earlier run of that day found.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    measured = measure_day(registry, day)
    figures = measured.figures.model_copy(update=_guard(registry, day, measured.figures.notes))
    registry.bucket.put_shared(figures.key.replace(".json", ".html"), to_html(replace(measured, figures=figures)))
    registry.bucket.put_shared(figures.key, figures.to_json())  # last: who reads the figures finds the report
    for line in to_text(figures).splitlines():
        log.info("%s", line)
    if not any(key > figures.key for key in registry.bucket.list(FOLDER) if is_figures(key)):
        _alert(figures, day)  # of an older day, nobody is told: what is known of a later one stands
    return figures


def _guard(registry: Registry, day: date, notes: tuple[str, ...]) -> dict[str, Any]:
    """Let the guard judge the champion, and act where it may; where it cannot judge, a note says why."""
    faults = Faults()
    try:
        verdict = guard.judge(registry, day, faults)
        guarded = verdict.describe(_act(registry, verdict, day)) if verdict else None
    except (IntegrityError, MissingError, RegistryError) as error:
        return {"notes": (*notes, f"{CANNOT_JUDGE}: {error}")}
    return {"guard": guarded, "notes": (*notes, *(f"the guard did not read {fault}" for fault in faults.told))}


def _act(registry: Registry, verdict: guard.Verdict, day: date) -> bool:
    """Tell of a worse champion, and take it back where the guard may; says whether it did.

    It is told first: a run that was killed after the roll-back would find a good champion, and never tell.

    Raises:
        RegistryError: a person was first.

    """
    if not verdict.is_worse:
        return False
    may = read_settings(MonitoringSettings).guard == "rollback"
    what = f"{verdict.to_text()}; the guard takes it back" if may else verdict.to_text()
    command = f"python -m src.registry {'history --last 2' if may else 'rollback'}"
    alerts.raise_alert(alerts.GUARD, what, _start(day), command)
    if may:
        guard.roll_back(registry, verdict)
    return may


def _alert(figures: DayFigures, day: date) -> None:
    """Tell of drift, and what is over; a day without rows says nothing of drift."""
    is_worse = figures.guard and figures.guard.is_worse
    if not is_worse and not any(note.startswith(CANNOT_JUDGE) for note in figures.notes):
        alerts.clear(alerts.GUARD)
    if figures.drift and figures.drift.alarms:
        what = f"{', '.join(figures.drift.alarms)} drifted from what release {figures.release} was trained on"
        alerts.raise_alert(alerts.DRIFT, what, _start(day), f"python -m src.monitoring run --date {day}")
    elif figures.drift:
        alerts.clear(alerts.DRIFT)


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
