"""Promotion is one write: whole or not at all, recorded, undone, and safe against kill -9."""

import json
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from pydantic import SecretStr

from src.config import MODEL, PROJECT
from src.core.pointer import Pointer
from src.errors import IntegrityError, MissingError, RegistryError, StoreError
from src.registry import CURRENT, Promotion, Registry
from src.settings import AccessSettings
from src.storage.bucket import Bucket, content_key
from src.storage.users import create_api_user

# Dies with -9 at the moment the PUT of a key that starts with argv[2] would be sent.
PROMOTE_AND_DIE = """
import os, signal, sys
from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket

def die(request, **_):
    if f"/{sys.argv[2]}" in request.url:
        os.kill(os.getpid(), signal.SIGKILL)

bucket = Bucket.from_environment()
bucket.client.meta.events.register("before-send.s3.PutObject", die)
Registry(bucket).promote(Pointer.from_yaml(sys.argv[1]), "better", "test", {})
"""


@pytest.fixture
def first(trained: list[Pointer]) -> Pointer:
    return trained[0]


@pytest.fixture
def second(trained: list[Pointer]) -> Pointer:
    return trained[1]


@pytest.fixture
def third(trained: list[Pointer]) -> Pointer:
    return trained[2]


def promote(bucket: Bucket, pointer: Pointer) -> Promotion:
    return Registry(bucket).promote(pointer, "better", "test", {})


def champion_id(bucket: Bucket) -> str | None:
    champion = Registry(bucket).current()
    return champion.id if champion else None


def test_before_the_first_promotion_there_is_no_champion(bucket: Bucket) -> None:
    assert Registry(bucket).current() is None
    assert Registry(bucket).history() == []
    with pytest.raises(RegistryError, match="no champion yet"):
        Registry(bucket).rollback(None, "test")


def test_promotion_moves_model_metrics_profile_and_provenance_together(bucket: Bucket, first: Pointer) -> None:
    event = promote(bucket, first)
    champion = Registry(bucket).current()
    assert champion and champion.md5 == first.md5
    assert champion.meta["run_id"] == "test"
    assert set(dict(bucket.read_files(champion))) == {"model.onnx", "metrics.json", "profile.json", "release.json"}
    assert Registry(bucket).history() == [event]
    assert (event.replaced, event.kind, event.by) == (None, "promote", "test")


def test_promoting_the_champion_again_changes_nothing(bucket: Bucket, first: Pointer) -> None:
    event = promote(bucket, first)
    before = {key: bucket.get(key) for key in bucket.list("registry/")}
    assert promote(bucket, first) == event
    assert {key: bucket.get(key) for key in bucket.list("registry/")} == before


def test_a_release_with_altered_bytes_keeps_the_old_champion(bucket: Bucket, first: Pointer, second: Pointer) -> None:
    promote(bucket, first)
    bucket.put(content_key(second.md5), b"[]")
    with pytest.raises(IntegrityError, match="altered"):
        promote(bucket, second)
    assert champion_id(bucket) == first.id
    assert len(Registry(bucket).history()) == 1


def test_a_release_with_missing_bytes_keeps_the_old_champion(bucket: Bucket, first: Pointer, second: Pointer) -> None:
    promote(bucket, first)
    bucket.client.delete_object(Bucket=bucket.name, Key=content_key(second.md5))
    with pytest.raises(MissingError):
        promote(bucket, second)
    assert champion_id(bucket) == first.id


def test_roll_back_returns_to_what_was_replaced_step_by_step(
    bucket: Bucket, first: Pointer, second: Pointer, third: Pointer
) -> None:
    for pointer in (first, second, third):
        promote(bucket, pointer)
    assert Registry(bucket).rollback(None, "test").release == second.id
    assert Registry(bucket).rollback(None, "test").release == first.id
    assert champion_id(bucket) == first.id
    with pytest.raises(RegistryError, match="replaced no other release"):
        Registry(bucket).rollback(None, "test")
    assert [event.kind for event in Registry(bucket).history()] == ["promote"] * 3 + ["rollback"] * 2


def test_roll_back_to_a_named_release(bucket: Bucket, first: Pointer, second: Pointer, third: Pointer) -> None:
    for pointer in (first, second, third):
        promote(bucket, pointer)
    assert Registry(bucket).rollback(first.id, "test").replaced == third.id
    with pytest.raises(RegistryError, match="champion already"):
        Registry(bucket).rollback(first.id, "test")
    with pytest.raises(RegistryError, match=f"no release 'nope' in the registry, which holds: .*{first.id}"):
        Registry(bucket).rollback("nope", "test")


def test_a_roll_back_is_remembered_until_somebody_promotes_by_hand(
    bucket: Bucket, first: Pointer, second: Pointer
) -> None:
    promote(bucket, first)
    promote(bucket, second)
    assert not Registry(bucket).is_rolled_back(second.id)
    Registry(bucket).rollback(None, "test")
    assert Registry(bucket).is_rolled_back(second.id)
    assert not Registry(bucket).is_rolled_back(first.id)
    promote(bucket, second)
    assert not Registry(bucket).is_rolled_back(second.id)


def test_a_registered_pointer_is_never_rewritten(bucket: Bucket, first: Pointer) -> None:
    Registry(bucket).register(first)
    Registry(bucket).register(first.with_meta(run_id="later"))
    assert Registry(bucket).find(first.id).meta["run_id"] == "test"


@pytest.mark.parametrize("key", ["registry/releases/", "registry/current.dvc"])
def test_killed_before_the_flip_the_old_champion_stays_and_the_next_try_succeeds(
    bucket: Bucket, first: Pointer, second: Pointer, key: str
) -> None:
    promote(bucket, first)
    assert kill_while_promoting(second, key) == -signal.SIGKILL
    assert champion_id(bucket) == first.id
    assert promote(bucket, second).replaced == first.id
    assert [event.release for event in Registry(bucket).history()] == [first.id, second.id]


def test_killed_after_the_flip_the_event_is_not_lost(
    bucket: Bucket, first: Pointer, second: Pointer, third: Pointer
) -> None:
    promote(bucket, first)
    assert kill_while_promoting(second, "registry/promotions/") == -signal.SIGKILL
    assert champion_id(bucket) == second.id
    assert len(bucket.list("registry/promotions/")) == 1
    promote(bucket, third)
    assert len(bucket.list("registry/promotions/")) == 3
    events = Registry(bucket).history()
    assert [(event.replaced, event.release) for event in events] == [
        (None, first.id),
        (first.id, second.id),
        (second.id, third.id),
    ]


def test_reading_works_with_read_only_keys_and_changes_nothing(
    bucket: Bucket, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = trained
    promote(bucket, first)
    assert kill_while_promoting(second, "registry/promotions/") == -signal.SIGKILL
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    keys = AccessSettings(api_access_key_id=key, api_secret_access_key=SecretStr(secret))
    create_api_user(bucket, keys, print)
    before = {name: bucket.get(name) for name in bucket.list("registry/")}
    with monkeypatch.context() as reader:
        reader.setenv("AWS_ACCESS_KEY_ID", key)
        reader.setenv("AWS_SECRET_ACCESS_KEY", secret)
        registry = Registry(Bucket.from_environment())
        champion = registry.current()
        assert champion and champion.md5 == second.md5
        assert registry.load(registry.find(first.id)).provenance.model == MODEL
        assert registry.releases() == sorted([first.id, second.id])
        assert [event.release for event in registry.history()] == [first.id, second.id]
        assert not registry.is_rolled_back(first.id)
        assert second.md5 in run_command("current").stdout
        assert len(run_command("history").stdout.splitlines()) == 2
        with pytest.raises(StoreError, match="AccessDenied"):
            registry.promote(third, "better", "test", {})
    assert {name: bucket.get(name) for name in bucket.list("registry/")} == before
    promote(bucket, third)
    assert len(bucket.list("registry/promotions/")) == 3


def kill_while_promoting(pointer: Pointer, key: str) -> int:
    command = [sys.executable, "-c", PROMOTE_AND_DIE, pointer.to_yaml(), key]
    return subprocess.run(command, cwd=PROJECT, check=False).returncode


def test_events_sort_by_time_even_where_clocks_differ(bucket: Bucket, first: Pointer, second: Pointer) -> None:
    event = promote(bucket, first)
    champion = Registry(bucket).current()
    assert champion
    ahead = champion.meta["promotion"] | {"time": "2999-01-01T00:00:00.000000+00:00"}
    bucket.put(CURRENT, champion.with_meta(promotion=ahead).to_yaml().encode())
    assert promote(bucket, second).time > "2999"
    assert Registry(bucket).history()[0] == event
    assert Registry(bucket).history()[-1].release == second.id


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.registry", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def test_the_command_shows_promotes_and_rolls_back(bucket: Bucket, first: Pointer, second: Pointer) -> None:
    missing = run_command("current")
    assert missing.returncode == 1
    assert missing.stderr.startswith("registry: there is no champion yet")
    Registry(bucket).register(first)
    Registry(bucket).register(second)
    assert f"nothing → {first.id}" in run_command("promote", first.id).stdout
    assert f"{first.id} → {second.id}" in run_command("promote", second.id).stdout
    assert f"{second.id} → {first.id} (rollback" in run_command("rollback").stdout
    assert first.md5 in run_command("current").stdout
    assert [line.split()[1] for line in run_command("history").stdout.splitlines()] == [
        "promote",
        "promote",
        "rollback",
    ]
    wrong = run_command("rollback", "nope")
    assert wrong.returncode == 1
    assert len(wrong.stderr.splitlines()) == 1


def test_the_history_shows_figures_and_the_champion_and_takes_short_ids(
    bucket: Bucket, first: Pointer, second: Pointer
) -> None:
    Registry(bucket).register(first)
    Registry(bucket).register(second)
    run_command("promote", first.id[:5])
    run_command("promote", second.id[:5])
    run_command("rollback", first.id[:5])
    area = Registry(bucket).load(first).metrics.test["ROC_AUC"]
    lines = run_command("history").stdout.splitlines()
    assert [f"{first.id} * Accuracy" in line for line in lines] == [True, False, True]
    assert all(f"ROC_AUC {area:.3f}  " in line for line in (lines[0], lines[2]))
    assert run_command("history", "--last", "1").stdout.splitlines() == lines[-1:]
    events = [json.loads(line) for line in run_command("history", "--json").stdout.splitlines()]
    assert [(event["kind"], event["release"], event["champion"]) for event in events] == [
        ("promote", first.id, True),
        ("promote", second.id, False),
        ("rollback", first.id, True),
    ]


def test_a_short_id_of_two_releases_is_rejected(bucket: Bucket, first: Pointer) -> None:
    for number in range(2):
        Registry(bucket).register(replace(first, md5=f"abc{number}".ljust(32, "0") + ".dir"))
    done = run_command("promote", "abc")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "'abc' fits 2 releases" in done.stderr


@pytest.mark.parametrize("content", [b"", b"outs: []", b"{"])
def test_a_broken_pointer_is_replaced_by_promotion_and_roll_back(
    bucket: Bucket, first: Pointer, second: Pointer, content: bytes
) -> None:
    promote(bucket, first)
    promote(bucket, second)
    bucket.put(CURRENT, content)
    assert f"registry promote {second.id}" in run_command("current").stderr
    assert f"{second.id} → {first.id} (rollback" in run_command("rollback").stdout
    bucket.put(CURRENT, content)
    assert f"{first.id} → {first.id} (promote" in run_command("promote", first.id).stdout
    bucket.put(CURRENT, content)
    assert f"{first.id} → {second.id} (rollback" in run_command("rollback", second.id).stdout
    assert champion_id(bucket) == second.id
    chain = [(event.replaced, event.release) for event in Registry(bucket).history()]
    assert chain == [
        (None, first.id),
        (first.id, second.id),
        (second.id, first.id),
        (first.id, first.id),
        (first.id, second.id),
    ]


@pytest.mark.parametrize(
    "promotion", [None, [], {}, {"time": "now"}, {"time": "9999-12-31T23:59:59+00:00"}, {"release": "0" * 12}]
)
def test_a_pointer_without_an_event_of_its_own_is_broken(
    bucket: Bucket, first: Pointer, second: Pointer, promotion: object
) -> None:
    event = promote(bucket, first).model_dump()
    forged = {**event, **promotion} if isinstance(promotion, dict) and promotion else promotion
    bucket.put(CURRENT, first.with_meta(promotion=forged).to_yaml().encode())
    with pytest.raises(IntegrityError, match=f"registry promote {first.id}"):
        Registry(bucket).current()
    assert promote(bucket, second).replaced == first.id
    assert len(Registry(bucket).history()) == 2


def test_a_terminal_that_cannot_spell_an_arrow_is_told_all_the_same(bucket: Bucket, first: Pointer) -> None:
    Registry(bucket).register(first)
    command = [sys.executable, "-m", "src.registry", "promote", first.id]
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"champion: nothing ? {first.id}".encode("latin-1") in done.stdout
    assert champion_id(bucket) == first.id


def test_a_release_is_reproduced_from_what_it_records(bucket: Bucket, third: Pointer) -> None:
    Registry(bucket).register(third)
    command = [sys.executable, "-m", "src.pipeline", "reproduce", third.id]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert third.md5 in done.stdout
    assert Registry(bucket).releases() == [third.id]


def test_the_store_being_unreachable_is_one_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    done = run_command("current")
    assert done.returncode == 1
    assert done.stderr.startswith("registry: the store does not answer")
    assert len(done.stderr.splitlines()) == 1
