"""What Airflow reads at its start besides its options: the sentence on top of its home page."""

from airflow.api_fastapi.common.types import UIAlert

__all__ = ["DASHBOARD_UIALERTS"]

DASHBOARD_UIALERTS = [
    UIAlert(
        text="**No triggerer is needed:** none of the tasks defers, so none runs, and its red light below says nothing "
        "more. The first task that defers needs `airflow triggerer` (230 MB).",
        category="info",
    )
]
