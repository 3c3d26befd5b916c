"""The daily run in Airflow: the six steps of ``src/pipeline.py``, and nothing but their wiring."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from src.errors import StackError, StoreError

log = logging.getLogger(__name__)
Step = Callable[..., Any]


def log_failure(context: Mapping[str, Any]) -> None:
    """Log one line that says what failed, in which run, and why."""
    instance, error = context["task_instance"], context.get("exception")
    name = f"{instance.dag_id}.{instance.task_id}"
    log.error("%s failed in run %s, try %s: %s", name, instance.run_id, instance.try_number, error)


def fail_for_good(step: Step) -> Step:
    """Wrap a step so that what no retry can mend (all but a store that is away) fails at once."""

    @wraps(step)
    def run(*arguments: Any, **keywords: Any) -> Any:
        try:
            return step(*arguments, **keywords)
        except StoreError:
            raise
        except StackError as error:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error

    return run


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["wine"],
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(minutes=10),
        "on_failure_callback": log_failure,
    },
)
def wine_quality() -> None:
    """### Train, prove, ship.

    Pulls the red wine quality table that `data.dvc` names, splits it by content, trains a LogisticRegression, scores
    the exported ONNX file, compares it with the champion on the same test rows, and promotes it if it is better.

    * Tasks pass **pointers** (see each task's XCom); the bytes travel through the bucket alone.
    * `update_model` is **skipped** when the challenger is not better; `check_metrics` logs why.
    * Only a store that is away is retried. Bad data or altered bytes fail at once, and the champion stays.
    * To undo a promotion: `python -m src.registry rollback`.
    """

    @task
    @fail_for_good
    def pull_data() -> Any:
        """Pull the data that `data.dvc` names and validate it: columns, ranges, classes."""
        from src import pipeline

        return pipeline.pull_data()

    @task
    @fail_for_good
    def prepare_data(data: Any) -> Any:
        """Split by a hash of each row's features, so that copies never straddle; push train and test."""
        from src import pipeline

        return pipeline.prepare_data(data)

    @task
    @fail_for_good
    def train_model(data: Any, sides: Any) -> Any:
        """Fit the configured LogisticRegression on train, export it to ONNX, push the challenger."""
        from src import pipeline

        instance = get_current_context()["ti"]
        run = pipeline.describe_run(instance.run_id, task=f"{instance.dag_id}.{instance.task_id}")
        return pipeline.train_model(data, sides, run)

    @task
    @fail_for_good
    def test_model(challenger: Any, sides: Any) -> Any:
        """Score the challenger's ONNX file on train and test; push the whole release."""
        from src import pipeline

        return pipeline.test_model(challenger, sides)

    @task
    @fail_for_good
    def check_metrics(tested: Any, sides: Any) -> Any:
        """Score challenger and champion on the same test rows, and decide."""
        from src import pipeline

        decision = pipeline.check_metrics(tested, sides)
        log.info("%s\n%s", decision["reason"], pipeline.compare_side_by_side(decision))
        return decision

    @task
    @fail_for_good
    def update_model(tested: Any, decision: Any) -> Any:
        """Make the challenger the champion by one write; skipped when it is not better."""
        if not decision["promote"]:
            raise AirflowSkipException(decision["reason"])
        from src import pipeline

        return pipeline.update_model(tested, decision, get_current_context()["ti"].run_id)

    data = pull_data()
    sides = prepare_data(data)
    tested = test_model(train_model(data, sides), sides)
    update_model(tested, check_metrics(tested, sides))


wine_quality()
