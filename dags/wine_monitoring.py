"""The daily look back in Airflow: what the prediction log says of the day that ended."""

from datetime import date, datetime
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dags.failures import DEFAULTS, no_retry
from src import alerts
from src.core import wine


@dag(
    dag_id=f"{wine.NAME}_monitoring",
    schedule="15 1 * * *",  # UTC; what a service sent late is there by then
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=[wine.NAME],
    on_failure_callback=alerts.tell_failed_run,
    on_success_callback=alerts.tell_good_run,
    params={"date": Param(None, type=["null", "string"], format="date", description="A day (UTC); empty: yesterday")},
    default_args=DEFAULTS,
)
def wine_monitoring() -> None:
    """### What became of the predictions.

    Measures a day of the prediction log: drift of each feature and of the predicted classes, performance where labels
    came, and whether the champion is worse than the release it replaced. Figures and a report go to `monitoring/` in the
    bucket. The same for any day by hand: trigger it with a `date`. See docs/monitoring.md.
    """

    @task
    @no_retry
    def observe() -> Any:
        """Measure, guard, keep figures and report, and alert."""
        import logging

        from src.monitoring import day, figures
        from src.registry import Registry
        from src.storage.bucket import Bucket

        context = get_current_context()
        chosen = context["params"]["date"]
        which = date.fromisoformat(chosen) if chosen else day.yesterday(context["dag_run"].run_after)
        observed = day.observe(Registry(Bucket.from_environment()), which)
        logging.getLogger(__name__).info("%s", figures.tell(observed))
        return {"date": observed.date, "wines": observed.wines, "alarms": list(observed.alarms)}

    observe()


wine_monitoring()
