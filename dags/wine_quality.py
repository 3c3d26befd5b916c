"""The daily run in Airflow: the six steps of ``src/pipeline``, and nothing but their wiring."""

from datetime import datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from dags.tasks import DEFAULTS, no_retry
from src import alerts
from src.core import wine
from src.core.pointer import Pointer, Split


@dag(
    dag_id=wine.DAG_ID,
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=[wine.NAME],
    on_failure_callback=alerts.tell_failed_run,
    on_success_callback=alerts.tell_good_run,
    default_args=DEFAULTS,
)
def wine_quality() -> None:
    """### Train, prove, ship.

    Pulls the table that `data.dvc` names, splits it by content, trains the configured model, scores the exported
    ONNX file, compares it with the champion on the same test rows, and promotes it if it is better.

    * Tasks pass **pointers** (see each task's XCom); the bytes travel through the bucket alone.
    * `update_model` is **skipped** when the challenger is not better; `check_metrics` logs why.
    * Only an unreachable store is retried. Bad data or altered bytes fail at once, and the champion stays.
    * To undo a promotion: `python -m src.registry rollback`.
    """

    @task
    @no_retry
    def pull_data() -> Any:
        """Pull the data that `data.dvc` names and validate it: columns, ranges, classes."""
        from src.pipeline import steps

        return steps.pull_data().to_dict()

    @task
    @no_retry
    def prepare_data(data: Any) -> Any:
        """Split by a hash of each row's features, so that copies never straddle; push train and test."""
        from src.pipeline import steps

        return steps.prepare_data(Pointer.from_dict(data)).to_dict()

    @task
    @no_retry
    def train_model(data: Any, split: Any) -> Any:
        """Fit the configured model on train, export it to ONNX, push the challenger."""
        from src.pipeline import steps

        instance = get_current_context()["ti"]
        run = steps.describe_run(instance.run_id, task=f"{instance.dag_id}.{instance.task_id}")
        return steps.train_model(Pointer.from_dict(data), Split.from_dict(split), run).to_dict()

    @task
    @no_retry
    def test_model(challenger: Any, split: Any) -> Any:
        """Score the challenger's ONNX file on train and test; push and register the complete release."""
        from src.pipeline import steps

        return steps.test_model(Pointer.from_dict(challenger), Split.from_dict(split)).to_dict()

    @task
    @no_retry
    def check_metrics(tested: Any, split: Any) -> Any:
        """Score challenger and champion on the same test rows, and decide."""
        from src.pipeline import steps

        run_id = get_current_context()["ti"].run_id
        return steps.check_metrics(Pointer.from_dict(tested), Split.from_dict(split), run_id).to_dict()

    @task
    @no_retry
    def update_model(tested: Any, comparison: Any) -> Any:
        """Make the challenger the champion by one write; skipped when it is not better."""
        from src.pipeline import steps
        from src.pipeline.comparison import Comparison

        decided = Comparison.from_dict(comparison)
        if not decided.promote:
            raise AirflowSkipException(decided.reason)
        by = get_current_context()["ti"].run_id
        return steps.update_model(Pointer.from_dict(tested), decided, by).model_dump(mode="json")

    data = pull_data()
    split = prepare_data(data)
    tested = test_model(train_model(data, split), split)
    update_model(tested, check_metrics(tested, split))


wine_quality()
