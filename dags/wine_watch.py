"""Asks the prediction service how it is, every few minutes, where ``ALERT_URLS`` names who is to be told."""

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from src import alerts
from src.config import ALERT_RULE
from src.core import wine
from src.core.table import spell


@dag(
    dag_id=f"{spell(wine.NAME)}_watch",
    schedule=timedelta(minutes=ALERT_RULE.check_minutes) if os.environ.get("ALERT_URLS") else None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=[wine.NAME],
    on_failure_callback=alerts.tell_failed_run,
    on_success_callback=alerts.tell_good_run,
)
def wine_watch() -> None:
    """### Tell people what the service cannot.

    A rejected release, a store that is unreachable for long, a service that does not answer: each is told once, and
    once more when it is over. See docs/alerts.md.
    """

    @task(execution_timeout=timedelta(minutes=2))
    def check_service() -> Any:
        """Ask /healthcheck; what is known goes on from check to check as this task's XCom."""
        from src.settings import FrontSettings, read_settings

        known = get_current_context()["ti"].xcom_pull(include_prior_dates=True)
        return alerts.check_service(read_settings(FrontSettings).api_url, known)

    check_service()


wine_watch()
