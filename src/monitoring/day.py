"""A day's observation: measured, guarded, kept in the bucket, and told to people where something is wrong."""

import logging
from datetime import date, datetime, time, timedelta

from src import alerts
from src.errors import RegistryError
from src.monitoring import figures, guard
from src.monitoring.figures import DayFigures
from src.monitoring.report import write_report
from src.registry import Registry
from src.settings import MonitoringSettings, read_settings
from src.storage.prediction_log import Faults

log = logging.getLogger(__name__)


def observe(registry: Registry, day: date) -> DayFigures:
    """Measure a day, let the guard judge, keep figures and report, and alert; the same day may be observed again."""
    measured = figures.measure(registry, day)
    if (verdict := guard.judge(registry, day, Faults())) is not None:
        measured = measured.model_copy(update={"guard": _act(registry, verdict)})
    key = figures.name_figures(day)
    registry.bucket.put(key.replace(".json", ".html"), write_report(measured))
    registry.bucket.put(key, measured.to_json())
    _alert(measured, day)
    return measured


def _act(registry: Registry, verdict: guard.Verdict) -> guard.GuardFigures:
    may_act = read_settings(MonitoringSettings).guard == "rollback"
    if not (verdict.is_worse and may_act):
        return verdict.describe(rolled_back=False)
    try:
        guard.roll_back(registry, verdict)
    except RegistryError as error:  # a person was first
        log.warning("the guard did not act: %s", error)
        return verdict.describe(rolled_back=False)
    return verdict.describe(rolled_back=True)


def _alert(measured: DayFigures, day: date) -> None:
    since = datetime.combine(day, time(), tzinfo=figures.ZONE)
    if measured.alarms:
        command = f"python -m src.monitoring run --date {day}"
        alerts.raise_alert(alerts.DRIFT, "; ".join(measured.alarms), since, command)
    elif measured.wines:
        alerts.clear(alerts.DRIFT)
    if measured.guard and measured.guard.is_worse:
        command = "python -m src.registry rollback"
        if measured.guard.rolled_back:
            command = "python -m src.registry history --last 2"
        alerts.raise_alert(alerts.GUARD, measured.guard.told, since, command)
    else:
        alerts.clear(alerts.GUARD)


def yesterday(now: datetime) -> date:
    """Return the last day that has ended."""
    return now.astimezone(figures.ZONE).date() - timedelta(days=1)
