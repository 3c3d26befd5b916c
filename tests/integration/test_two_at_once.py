"""Two changes of champion at once: each is in the history, in order, or is rejected by name."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from threading import Barrier

import psutil
import pytest

from src.config import PROJECT
from src.core.pointer import Pointer
from src.errors import RegistryError, StoreError
from src.pipeline import steps
from src.pipeline.comparison import Comparison
from src.registry import CURRENT, Promotion, Registry
from src.storage import bucket as storage
from src.storage.bucket import PROBE, Bucket
from tests.support.conditional_store import ConditionalStore, conditional_store
from tests.support.services import eventually

REJECTIONS = ("is the champion already", "was compared; start a new run", "replaced no other release")
PAIRS = 20  # in each of five buckets: reading a long history takes its time
KINDS = (
    ("promote", "promote"),
    ("promote", "rollback"),
    ("daily", "daily"),
    ("rollback", "rollback"),
    ("daily", "promote"),
    ("daily", "rollback"),
    ("rollback to", "promote"),
    ("rollback to", "rollback to"),
)
Change = Callable[[], Promotion]

# Stops, as if its machine hung, where its PUT of the champion's pointer would be sent.
PROMOTE_AND_FREEZE = """
import os, signal, sys
from src import cli
from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket

def freeze(request, **_):
    if "/registry/current.dvc" in request.url:
        bucket.client.meta.events.unregister("before-send.s3.PutObject", freeze)
        os.kill(os.getpid(), signal.SIGSTOP)

bucket = Bucket.from_environment()
bucket.client.meta.events.register("before-send.s3.PutObject", freeze)
promote = Registry(bucket).promote
sys.exit(cli.run("frozen", lambda: print(promote(Pointer.from_yaml(sys.argv[1]), "better", "frozen", {}, sys.argv[2]))))
"""


@pytest.fixture
def conditions(trained: list[Pointer], bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConditionalStore]:
    """Have the environment name a store that honours conditions, which holds the test's own bucket."""
    with conditional_store(bucket) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        yield store


@pytest.fixture(params=["lock of the machine", "conditions of the store"])
def either(request: pytest.FixtureRequest, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the environment name the gateway, which ignores conditions, or a store that honours them."""
    if request.param == "conditions of the store":
        request.getfixturevalue("conditions")
    return str(request.param)


def make_change(registry: Registry, kind: str, release: Pointer, champion: str, by: str) -> Change:
    compared = Comparison(True, "better", release.id, champion, {})
    return {
        "promote": lambda: registry.promote(release, "better", by, {}),
        "daily": lambda: steps.update_model(release, compared, by),
        "rollback": lambda: registry.rollback(None, by),
        "rollback to": lambda: registry.rollback(release.id, by),
    }[kind]


def change_at_once(*changes: Change) -> list[Promotion | RegistryError]:
    """Start all changes at the same moment; return what each gave."""
    start = Barrier(len(changes))

    def change(one: Change) -> Promotion | RegistryError:
        start.wait()
        try:
            return one()
        except RegistryError as error:
            return error

    with ThreadPoolExecutor(len(changes)) as pool:
        return list(pool.map(change, changes))


def check_history(events: list[Promotion]) -> None:
    """Fail where an event does not follow the one before it."""
    assert events[0].replaced is None
    for before, after in pairwise(events):
        assert after.replaced == before.release
        assert after.time > before.time


@pytest.mark.parametrize("batch", range(5))
def test_of_two_at_once_each_is_in_the_history_in_order_or_rejected_by_name(
    either: str, batch: int, bucket: Bucket, trained: list[Pointer]
) -> None:
    registry, *both = (Registry(Bucket.from_environment()) for _ in range(3))
    done = [registry.promote(pointer, "better", "test", {}) for pointer in trained]
    for number in range(batch, batch + PAIRS):
        champion = registry.current()
        assert champion
        others = [pointer for pointer in trained if pointer.md5 != champion.md5]
        kinds = KINDS[number % len(KINDS)]
        pair = zip(both, kinds, others, ("one", "other"), strict=True)
        answers = change_at_once(*(make_change(one, kind, to, champion.id, by) for one, kind, to, by in pair))
        rejected = [str(answer) for answer in answers if isinstance(answer, RegistryError)]
        assert all(any(words in text for words in REJECTIONS) for text in rejected), rejected
        if kinds == ("daily", "daily"):
            assert len(rejected) == 1
            assert f"{champion.id} was compared" in rejected[0]
        done += [answer for answer in answers if isinstance(answer, Promotion)]
    events = registry.history()
    told = {event.time: event for event in done}  # who finds it done is told of the change that did it
    assert events == [told[time] for time in sorted(told)]
    check_history(events)
    champion = registry.current()
    assert champion and champion.id == events[-1].release


def test_of_two_that_write_one_object_at_once_one_stands(bucket: Bucket, either: str) -> None:
    contents = [name * 1000 for name in (b"a", b"b")]

    def write(content: bytes) -> None:
        own = Bucket.from_environment()
        for _ in range(30):
            own.put_shared("shared", content)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, contents))
    assert bucket.get("shared") in contents


def test_of_two_commands_at_once_each_is_in_the_history_in_order_or_rejected_by_name(
    either: str, bucket: Bucket, trained: list[Pointer]
) -> None:
    registry = Registry(bucket)
    for pointer in trained:
        registry.promote(pointer, "better", "test", {})
    told = len(trained)
    for pair in (
        [["promote", trained[0].id], ["promote", trained[1].id]],
        [["rollback"], ["rollback"]],
        [["rollback", trained[0].id], ["promote", trained[1].id]],
        [["promote", trained[2].id], ["rollback"]],
    ):
        commands = [start_command("-m", "src.registry", *arguments) for arguments in pair]
        for command in commands:
            output, errors = command.communicate(timeout=300)
            assert command.returncode == 0 or any(words in errors for words in REJECTIONS), errors
            told += command.returncode == 0 and "→" in output
    events = registry.history()
    check_history(events)
    assert told >= len(events) > len(trained) + 3


def start_command(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@contextmanager
def frozen_promotion(release: Pointer, compared: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a promotion that has read the champion, and stopped before it writes."""
    with start_command("-c", PROMOTE_AND_FREEZE, release.to_yaml(), compared) as process:
        try:
            eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            yield process
        finally:
            process.kill()


def thaw(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Let a frozen promotion go on; return its exit code and what it printed on standard error."""
    os.kill(process.pid, signal.SIGCONT)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


def test_a_change_waits_for_one_that_is_frozen_and_no_longer_than_a_minute(
    bucket: Bucket, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = trained
    registry = Registry(bucket)
    registry.promote(first, "better", "test", {})
    with frozen_promotion(second, "any") as frozen, ThreadPoolExecutor(1) as pool:
        assert storage.LOCK_SECONDS == 60
        with monkeypatch.context() as patched:
            patched.setattr(storage, "LOCK_SECONDS", 0.5)
            with pytest.raises(StoreError, match=r"another process of this machine .* for 0.5 s; find it with: fuser"):
                registry.promote(third, "better", "test", {})
        assert [event.release for event in registry.history()] == [first.id]
        waiting = pool.submit(registry.promote, third, "better", "test", {})
        assert thaw(frozen) == (0, "")
        assert waiting.result(30).replaced == second.id
    check_history(registry.history())
    assert len(registry.history()) == 3


@pytest.mark.parametrize("compared", ["any", "the champion"])
def test_where_the_store_honours_conditions_a_frozen_change_holds_up_nobody_and_overwrites_nothing(
    bucket: Bucket, trained: list[Pointer], conditions: ConditionalStore, compared: str
) -> None:
    first, second, third = trained
    registry = Registry(Bucket.from_environment())
    registry.promote(first, "better", "test", {})
    with frozen_promotion(second, first.id if compared == "the champion" else compared) as frozen:
        assert registry.promote(third, "better", "test", {}).replaced == first.id
        code, errors = thaw(frozen)
    check_history(registry.history())
    releases = [event.release for event in registry.history()]
    if compared == "any":
        assert (code, releases) == (0, [first.id, third.id, second.id])
    else:
        assert (code, releases) == (1, [first.id, third.id])
        assert errors == f"frozen: champion is {third.id}, {first.id} was compared; start a new run\n"


def test_a_change_whose_answer_was_lost_is_done_once(
    bucket: Bucket, trained: list[Pointer], conditions: ConditionalStore
) -> None:
    registry = Registry(Bucket.from_environment())
    for pointer in trained:
        registry.promote(pointer, "better", "test", {})
    conditions.unanswered.add(CURRENT)
    assert registry.rollback(None, "test").release == trained[1].id
    assert not conditions.unanswered
    check_history(registry.history())
    assert len(registry.history()) == 4


@pytest.mark.parametrize("ignored", ["If-Match", "If-None-Match"])
def test_a_store_that_honours_one_condition_of_two_is_not_relied_on(
    bucket: Bucket, trained: list[Pointer], conditions: ConditionalStore, ignored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions.ignored.add(ignored)
    first, second, third = trained
    registry = Registry(Bucket.from_environment())
    registry.promote(first, "better", "test", {})
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.5)
    with frozen_promotion(second, "any") as frozen:
        with pytest.raises(StoreError, match="another process of this machine"):
            registry.promote(third, "better", "test", {})
        assert thaw(frozen) == (0, "")
    assert registry.promote(third, "better", "test", {}).replaced == second.id


def test_the_store_is_tried_once_and_only_by_who_changes_something(bucket: Bucket, trained: list[Pointer]) -> None:
    Registry(bucket).history()
    assert PROBE not in bucket.list("registry/")
    Registry(bucket).promote(trained[0], "better", "test", {})
    bucket.client.delete_object(Bucket=bucket.name, Key=PROBE)
    Registry(bucket).promote(trained[1], "better", "test", {})
    assert PROBE not in bucket.list("registry/")
