"""Tells people of problems, through whatever ``ALERT_URLS`` names: each once, and once more when it is over.

What is known is one object, ``monitoring/alerts.json``; what could not be told is told at the next occasion. Nothing
here raises: an alert that fails must not fail what it is about.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from src.config import ALERT_RULE
from src.core import wine
from src.core.formats import Stored
from src.errors import ConflictError, FormatError, IntegrityError, MissingError, StackError
from src.settings import AlertSettings, read_settings
from src.storage.bucket import Bucket
from src.storage.prediction_log import Store

log = logging.getLogger(__name__)
KEY = "monitoring/alerts.json"
MAX_BYTES = 2**20
TRIES = 5  # of a change that others keep overtaking
RUN, DRIFT, GUARD = "run", "drift", "guard"
REJECTED, STORE, SERVICE = "rejected release", "store", "service"


class Problem(Stored):
    """What happened, since when, and the command to run; ``over`` is set until it was told that it ended."""

    what: str
    since: datetime
    command: str
    told: bool = False
    over: datetime | None = None


class Problems(Stored):
    """The problems by their kind."""

    problems: dict[str, Problem] = {}


Known = Mapping[str, Problem]


def raise_alert(kind: str, what: str, since: datetime, command: str) -> None:
    """Tell of a problem, unless one of this kind is known already.

    Where the bucket cannot say whether it is, it is told: rather twice than never.
    """
    problem = Problem(what=what, since=since, command=command)
    if not _change(lambda known: _with(known, kind, problem)):
        _tell(kind, problem)


def clear(kind: str) -> None:
    """Tell that the problem of this kind is over, where there was one."""
    _change(lambda known: _without(known, kind))


def read_known(store: Store) -> Known:
    """Return the problems that the bucket knows of, by their kind.

    Raises:
        IntegrityError: what it holds is broken, or newer code wrote it.

    """
    try:
        return Problems.read_json(store.get(KEY, MAX_BYTES), KEY).problems
    except MissingError:
        return {}


def tell_failed_run(context: Mapping[str, Any]) -> None:
    """Tell that a run failed: a DAG's ``on_failure_callback``."""
    dag, run, instance = context["dag"].dag_id, context["run_id"], context.get("ti")
    where = f" in {instance.task_id}; its log: {instance.log_url}" if instance else f": {context.get('reason')}"
    raise_alert(
        f"{RUN} of {dag}", f"run {run} of {dag} failed{where}", datetime.now(UTC), f"airflow dags trigger {dag}"
    )


def tell_good_run(context: Mapping[str, Any]) -> None:
    """Tell that runs succeed again, where one had failed: a DAG's ``on_success_callback``."""
    clear(f"{RUN} of {context['dag'].dag_id}")


def check_service(url: str, known: Any) -> dict[str, Any]:
    """Ask the prediction service how it is, and tell of what changed.

    ``known`` is what the last call returned (None before the first), which the caller keeps: the bucket cannot while it
    is unreachable itself.
    """
    try:
        before: Known = Problems.read(known or {}, "what the last check found").problems
    except IntegrityError as error:
        log.warning("%s", error)
        before = {}
    found, unknown = _ask(url)
    after = dict(before)
    for kind, problem in found.items():
        after = _with(after, kind, problem)
    for kind in before.keys() - found.keys() - unknown:
        after = _without(after, kind)
    due, kept = _split(after)
    return Problems(problems=kept | _tell_all(due)).model_dump(mode="json")


def _ask(url: str) -> tuple[dict[str, Problem], set[str]]:
    """Return the problems that the service has, and the kinds of which it says nothing."""
    import httpx

    now, found = datetime.now(UTC), {}
    try:
        health = httpx.get(f"{url}/healthcheck", timeout=10).json()
        store, rejected, serves = health["store"], health["rejected"], health["release"] or "nothing"
        if rejected:
            what = f"release {rejected['release']} is rejected, and {serves} is served: {rejected['reason']}"
            found[REJECTED] = Problem(what=what, since=now, command="python -m src.registry rollback")
        if not store["reachable"]:
            what = f"the service does not reach the bucket, and serves {serves}: {store['error']}"
            found[STORE] = Problem(what=what, since=now, command="python -m src.checker")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        what = f"{url}/healthcheck does not answer: {type(error).__name__}"
        return {SERVICE: Problem(what=what, since=now, command="docker compose up --wait, or: make up")}, {
            REJECTED,
            STORE,
        }
    return found, set()


def _with(known: Known, kind: str, problem: Problem) -> dict[str, Problem]:
    """Add a problem; one that is known goes on."""
    return {**known, kind: known[kind].model_copy(update={"over": None}) if kind in known else problem}


def _without(known: Known, kind: str) -> dict[str, Problem]:
    """Let a problem be over."""
    over = {"over": datetime.now(UTC)}
    return {**known, kind: known[kind].model_copy(update=over)} if kind in known else dict(known)


def _split(known: Known) -> tuple[dict[str, Problem], dict[str, Problem]]:
    """Return what is to be told now, and what to keep once it was."""
    young = datetime.now(UTC) - timedelta(minutes=ALERT_RULE.unreachable_minutes)
    waiting = {kind for kind, one in known.items() if kind in (STORE, SERVICE) and not one.told and one.since > young}
    due = {kind: one for kind, one in known.items() if one.told == (one.over is not None) and kind not in waiting}
    open_ = {kind: one for kind, one in known.items() if one.over is None}
    return due, {kind: one.model_copy(update={"told": one.told or kind in due}) for kind, one in open_.items()}


def _change(change: Callable[[Known], Known]) -> bool:
    """Change what the bucket knows, and tell what is due; False where the bucket could not be asked.

    What is due is claimed before it is told, so that two who find it at once do not tell it twice.
    """
    try:
        bucket = Bucket.from_environment()
        failed = _tell_all(_write(bucket, change))
        if failed:
            _write(bucket, lambda known: {**known, **failed}, claim=False)
    except StackError as error:
        log.warning("%s cannot be kept: %s", KEY, error)
        return False
    return True


def _write(bucket: Bucket, change: Callable[[Known], Known], claim: bool = True) -> dict[str, Problem]:
    """Write what is known after a change, and return what is due."""
    with bucket.locked():
        for _ in range(TRIES):
            etag, before = bucket.find_etag(KEY), _read(bucket)
            after = change(before)
            due, kept = _split(after) if claim else ({}, dict(after))
            try:
                if kept != before:
                    bucket.replace(KEY, Problems(problems=kept).to_json(), etag)
                return due
            except ConflictError:
                continue
    raise ConflictError(f"{KEY} was changed {TRIES} times meanwhile")


def _read(bucket: Bucket) -> Known:
    try:
        return read_known(bucket)
    except FormatError:
        raise
    except IntegrityError as error:
        log.warning("%s; it is written anew", error)
        return {}


def _tell_all(due: Known) -> dict[str, Problem]:
    """Tell what is due, and return what could not be told."""
    return {kind: problem for kind, problem in due.items() if not _tell(kind, problem)}


def _tell(kind: str, problem: Problem) -> bool:
    title = f"{wine.NAME}: {kind}{' is over' if problem.over else ''}"
    until = f"over since {_spell(problem.over)}" if problem.over else f"run: {problem.command}"
    text = f"{problem.what}\nsince {_spell(problem.since)}\n{until}"
    log.log(logging.INFO if problem.over else logging.ERROR, "%s: %s", title, text.replace("\n", "; "))
    try:
        urls = read_settings(AlertSettings).alert_urls
        if urls is None:
            log.warning("nobody was told, for ALERT_URLS is empty")
            return False
        import apprise  # takes half a second

        client = apprise.Apprise()
        if not client.add(urls.get_secret_value()):
            log.warning("apprise does not know each of ALERT_URLS; try them with: apprise --body=test URL")
        kinds = apprise.NotifyType
        is_told = bool(client.notify(text, title, kinds.SUCCESS if problem.over else kinds.FAILURE))
    except Exception as error:  # whatever an address leads to
        log.warning("telling failed: %s: %s", type(error).__name__, error)
        return False
    if not is_told:
        log.warning("not each of ALERT_URLS took it; all are told at the next occasion")
    return is_told


def _spell(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
