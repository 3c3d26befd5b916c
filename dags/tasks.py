"""What the tasks of every DAG share: how often they are tried, and how they end."""

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from src.errors import StackError, StoreError

log = logging.getLogger(__name__)
Step = Callable[..., Any]


def log_failure(context: Mapping[str, Any]) -> None:
    """End the log with one line that says what failed, in which run, and why."""
    _log_end(context, "failed in")


def log_retry(context: Mapping[str, Any]) -> None:
    """End the log of a try that others follow with one line that says why."""
    _log_end(context, "is tried again in")


def _log_end(context: Mapping[str, Any], what: str) -> None:
    instance, error = context["task_instance"], context.get("exception")
    name = f"{instance.dag_id}.{instance.task_id}"
    log.info("::endgroup::")  # Airflow opened one, which its page shows collapsed
    log.error("%s %s run %s, try %s: %s", name, what, instance.run_id, instance.try_number, error)


def no_retry(step: Step) -> Step:
    """Wrap a step so that what no retry can repair (all but an unreachable store) fails at once.

    The causes, with their tracebacks, are logged for those who debug; the error itself says all that a person needs.
    """

    @wraps(step)
    def run(*arguments: Any, **keywords: Any) -> Any:
        try:
            return step(*arguments, **keywords)
        except StackError as error:
            log.debug("caused by", exc_info=error)
            if isinstance(error, StoreError):
                told: Exception = type(error)(str(error))
            else:
                told = AirflowFailException(f"{type(error).__name__}: {error}")
        raise told

    return run


DEFAULTS: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(minutes=10),
    "on_failure_callback": log_failure,
    "on_retry_callback": log_retry,
}
