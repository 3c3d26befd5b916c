"""Daily monitoring in Airflow: one task, and nothing but its wiring."""

from datetime import date, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dags.tasks import DEFAULTS, no_retry
from src import alerts
from src.core import wine


@dag(
    dag_id=f"{wine.NAME}_monitoring",
    schedule="30 0 * * *",  # UTC; the last files of the day were sent by then
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=[wine.NAME],
    params={"date": Param(None, type=["null", "string"], format="date", description="A day (UTC); else yesterday")},
    on_failure_callback=alerts.tell_failed_run,
    on_success_callback=alerts.tell_good_run,
    default_args=DEFAULTS,
)
def wine_monitoring() -> None:
    """### What live traffic says of the champion.

    Reads yesterday's predictions and labels back from the bucket, sets them beside the release that answered, and
    keeps figures and a report there: `monitoring/<date>.json` and `.html`. See docs/monitoring.md.

    * For another day press *Trigger* and give its `date`; what was found of that day before is replaced.
    * Drift is no failure: the log names it, and so do the figures.
    """

    @task
    @no_retry
    def measure_day() -> Any:
        """Measure drift and performance of the day before this run, or of the run's `date`."""
        from src.monitoring.run import run
        from src.registry import Registry
        from src.storage.bucket import Bucket

        context = get_current_context()
        chosen = context["params"]["date"]
        day = date.fromisoformat(chosen) if chosen else (context["dag_run"].run_after - timedelta(days=1)).date()
        figures = run(Registry(Bucket.from_environment()), day)
        return {"figures": figures.key, "alarms": [*figures.drift.alarms] if figures.drift else []}

    measure_day()


wine_monitoring()
