"""What live traffic says comes back into the decision: the replay before a promotion, and the guard after it."""

import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from src.config import PARAMETERS, PROJECT, SPLIT, ReplayRule
from src.core import dataset
from src.core.pointer import Pointer, Split
from src.core.prediction_record import FIELDS
from src.core.replay import Wines, replay
from src.errors import RegistryError
from src.monitoring import guard
from src.monitoring.run import run as monitor
from src.pipeline import run, steps
from src.registry import ROLLBACK, Registry
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults
from tests.conftest import committed_data
from tests.support import traffic
from tests.support.documents import blocks
from tests.support.webhook import webhook


@pytest.fixture
def registry(bucket: Bucket, trained: list[Pointer]) -> Registry:
    """Return a registry whose champion is the release of the configured parameters."""
    registry = Registry(bucket)
    registry.promote(trained[0], "first", "test", {})
    return registry


@pytest.fixture
def worse(registry: Registry) -> tuple[Pointer, Split]:
    """Return a release that is clearly worse than the champion, and what it was split from."""
    data = committed_data()
    return run.make_release(
        data, steps.describe_run("test", "train_model"), parameters={**PARAMETERS, "C": 0.001}, register=True
    )


@pytest.fixture
def wines(registry: Registry, data_csv: Path) -> pd.DataFrame:
    """Return wines that nobody was trained on."""
    return dataset.split(dataset.read(data_csv), SPLIT)[1]


def today() -> date:
    return datetime.now(UTC).date()


def test_a_challenger_is_replayed_on_the_logged_traffic_and_the_event_keeps_the_figures(
    registry: Registry,
    worse: tuple[Pointer, Split],
    trained: list[Pointer],
    wines: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote(worse[0], "promoted by hand", "test", {})
    champion, challenger = registry.load(worse[0]), registry.load(trained[0])
    logged = traffic.answer(champion, worse[0].id, wines)
    key = traffic.send(registry.bucket, logged)
    registry.bucket.put(key.replace(traffic.WORKER, "aaaaaaaa"), b"no log at all")
    traffic.label(registry.bucket, logged[:50], wines[:50])

    monkeypatch.setattr(steps, "REPLAY_RULE", ReplayRule(max_disagreement=1.0))
    comparison = steps.check_metrics(trained[0], worse[1])
    assert comparison.promote, comparison.reason
    event = steps.update_model(trained[0], comparison, "test")

    values = wines[dataset.FEATURE_NAMES].to_numpy()
    (mine, shares), (theirs, other) = (one.model.predict(values) for one in (challenger, champion))
    figures = event.metrics["replay"]
    assert figures["rows"] == len(wines)
    assert figures["disagreement"] == pytest.approx((mine != theirs).mean(), abs=0.01)
    assert figures["distance"] == pytest.approx(abs(shares - other).sum(axis=1).mean() / 2, abs=1e-4)
    truth = wines["quality"].to_numpy()[:50]
    assert figures["labelled"] == 50
    assert figures["right"] == pytest.approx((mine[:50] == truth).mean())
    assert figures["champion_right"] == pytest.approx((theirs[:50] == truth).mean())
    assert set(event.metrics["replay_drivers"]) <= set(FIELDS) and event.metrics["replay_drivers"]


def test_a_challenger_that_would_answer_much_otherwise_is_held_for_a_person(
    registry: Registry,
    worse: tuple[Pointer, Split],
    trained: list[Pointer],
    wines: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote(worse[0], "promoted by hand", "test", {})
    monkeypatch.setattr(steps, "REPLAY_RULE", ReplayRule(max_disagreement=0.1))
    few = traffic.answer(registry.load(worse[0]), worse[0].id, wines[:99])
    traffic.send(registry.bucket, few)
    assert steps.check_metrics(trained[0], worse[1]).promote
    traffic.send(registry.bucket, traffic.answer(registry.load(worse[0]), worse[0].id, wines))
    comparison = steps.check_metrics(trained[0], worse[1])
    assert not comparison.promote
    assert "get another class" in comparison.reason
    assert f"python -m src.registry promote {trained[0].id}" in comparison.reason
    assert comparison.replay["replay"]["rows"] == 99 + len(wines)


def test_the_feature_that_makes_the_difference_is_named(
    registry: Registry, worse: tuple[Pointer, Split], trained: list[Pointer], wines: pd.DataFrame
) -> None:
    values = wines[dataset.FEATURE_NAMES].to_numpy().copy()
    values[:, :-1] = values[0, :-1]  # alcohol alone varies
    done = replay(registry.load(trained[0]), registry.load(worse[0]), Wines(values, wines["quality"].to_numpy()))
    assert list(done.drivers) == ["alcohol"]


def test_the_guard_takes_a_worse_release_back_once_and_no_run_promotes_it_again(
    registry: Registry, worse: tuple[Pointer, Split], trained: list[Pointer], wines: pd.DataFrame
) -> None:
    registry.promote(worse[0], "promoted by hand", "test", {})
    logged = traffic.answer(registry.load(worse[0]), worse[0].id, wines)
    traffic.send(registry.bucket, logged)
    faults = Faults()
    traffic.label(registry.bucket, logged[:99], wines[:99])
    verdict = guard.judge(registry, today(), faults)
    assert verdict and not verdict.is_worse and "nothing can be told" in verdict.to_text()
    traffic.label(registry.bucket, logged[99:], wines[99:])
    verdict = guard.judge(registry, today(), faults)
    assert verdict and verdict.is_worse and verdict.rows == len(wines)

    event = guard.roll_back(registry, verdict)
    assert (event.kind, event.release, event.by) == (ROLLBACK, trained[0].id, "guard")
    assert "is worse beyond chance than" in event.reason and "ROC_AUC −0." in event.reason
    with pytest.raises(RegistryError, match="was to go"):
        guard.roll_back(registry, verdict)
    assert guard.judge(registry, today(), faults) is None
    assert registry.is_rolled_back(worse[0].id)
    assert faults.count == 0


DIE_AT_THE_ROLL_BACK = """
import os, signal, sys
from datetime import date
from src.monitoring.run import run
from src.registry import Registry
from src.storage.bucket import Bucket

def die(request, **_):
    if "/registry/current.dvc" in request.url:
        os.kill(os.getpid(), signal.SIGKILL)

bucket = Bucket.from_environment()
bucket.client.meta.events.register("before-send.s3.PutObject", die)
run(Registry(bucket), date.fromisoformat(sys.argv[1]))
"""


def test_what_the_guard_does_is_told_once_though_it_was_killed_at_it(
    registry: Registry, worse: tuple[Pointer, Split], wines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(worse[0], "promoted by hand", "test", {})
    logged = traffic.answer(registry.load(worse[0]), worse[0].id, wines)
    traffic.send(registry.bucket, logged)
    traffic.label(registry.bucket, logged, wines)
    monkeypatch.setenv("GUARD", "rollback")
    with webhook() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        command = [sys.executable, "-c", DIE_AT_THE_ROLL_BACK, str(today())]
        assert subprocess.run(command, cwd=PROJECT, capture_output=True).returncode == -signal.SIGKILL
        assert receiver.titles == ["wine: guard"] and "the guard takes it back" in receiver.posts[0]["message"]
        assert registry.history()[-1].release == worse[0].id
        kept = monitor(registry, today())
        assert kept.guard and kept.guard.rolled_back and registry.history()[-1].kind == ROLLBACK
        assert receiver.titles.count("wine: guard") == 1


def test_the_guard_tells_of_a_worse_champion_and_changes_nothing_where_it_may_not(
    registry: Registry,
    worse: tuple[Pointer, Split],
    trained: list[Pointer],
    wines: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.promote(worse[0], "promoted by hand", "test", {})
    logged = traffic.answer(registry.load(worse[0]), worse[0].id, wines)
    traffic.send(registry.bucket, logged)
    traffic.label(registry.bucket, logged, wines)
    monkeypatch.delenv("GUARD", raising=False)
    with webhook() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        for _ in range(2):
            kept = monitor(registry, today())
            assert kept.guard and kept.guard.is_worse and not kept.guard.rolled_back
        assert receiver.titles == ["wine: guard"]
        assert "run: python -m src.registry rollback" in receiver.posts[0]["message"]
        assert registry.history()[-1].release == worse[0].id
        registry.rollback(None, "ann", "the guard said so")
        monitor(registry, today())
        assert receiver.titles == ["wine: guard", "wine: guard is over"]


def test_the_command_replays_a_release_on_as_many_days_as_it_is_told(
    registry: Registry, worse: tuple[Pointer, Split], trained: list[Pointer], wines: pd.DataFrame
) -> None:
    champion, now = registry.load(trained[0]), time.time_ns()
    for back in (0, 2):
        answered = traffic.answer(champion, trained[0].id, wines, now - back * 86_400 * 10**9)
        traffic.send(registry.bucket, answered)
        traffic.label(registry.bucket, answered, wines)
    broken = f"predictions/date={today()}/hour=00/broken.jsonl.gz"
    registry.bucket.put(broken, b"")
    (shown,) = blocks("docs/monitoring.md", "console")
    asked, _, told = shown.partition("\n")
    assert asked == f"$ .venv/bin/python -m src.monitoring replay {worse[0].id[:5]}"
    for days, rows in ((1, len(wines)), (3, 2 * len(wines))):
        command = [sys.executable, *asked.split()[2:], "--days", str(days)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"of {rows} logged wines"), done.stdout
        assert (done.stdout == told) is (days == 1), done.stdout
        assert done.stderr == f"monitoring: not replayed: {broken}: the file is empty\n"


def test_the_guard_leaves_a_release_alone_that_is_not_worse(
    registry: Registry, trained: list[Pointer], wines: pd.DataFrame
) -> None:
    before = traffic.answer(registry.load(trained[0]), trained[0].id, wines)
    registry.promote(trained[1], "promoted by hand", "test", {})
    traffic.send(registry.bucket, before)
    traffic.label(registry.bucket, before, wines)
    verdict = guard.judge(registry, today(), Faults())
    assert verdict and verdict.rows == 0  # what was asked before the promotion says nothing of it
    after = traffic.answer(registry.load(trained[1]), trained[1].id, wines)
    traffic.send(registry.bucket, after)
    traffic.label(registry.bucket, after, wines)
    verdict = guard.judge(registry, today(), Faults())
    assert verdict and verdict.rows == len(wines) and not verdict.is_worse
    assert "is not worse than" in verdict.to_text()
