"""Yesterday's bytes stay readable, and tomorrow's are told: what an older version stored, and what a newer one would.

``tests/support/old_release`` is a part of a bucket as it was before anything carried the number of its format.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src import learn_models
from src.config import MODEL, PROJECT
from src.core import release
from src.core.pointer import Pointer, Split
from src.core.signature import name_key
from src.errors import FormatError, SignatureError
from src.pipeline import steps
from src.registry import CURRENT, Registry
from src.search import trials as search
from src.search.journal import LOG, Journal
from src.search.trials import Result
from src.storage.bucket import Bucket
from tests.integration.test_api_follows import get, predict, serves, uvicorn
from tests.integration.test_hostile_bucket import forge_release
from tests.support.documents import blocks
from tests.support.services import eventually

OLD = PROJECT / "tests" / "support" / "old_release"
UPDATE = "has format 99, and this code reads formats up to 1; update the code, in a container its image"
FILES = (release.PROVENANCE_FILE, release.METRICS_FILE, release.PROFILE_FILE)


@pytest.fixture
def unsigned(bucket: Bucket, trained: list[Pointer]) -> Pointer:
    """Return the champion that an older version stored."""
    for path in OLD.rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(OLD).as_posix(), path.read_bytes())
    return Pointer.from_yaml((OLD / CURRENT).read_text())


@pytest.fixture
def old(bucket: Bucket, unsigned: Pointer) -> Pointer:
    """Return the same after a person signed it."""
    Registry(bucket).sign(unsigned.md5)
    champion = Registry(bucket).current()
    assert champion
    return champion


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)


def add(name: str, **more: object) -> Callable[[dict[str, bytes]], None]:
    """Return what adds ``more`` to one of a release's files."""
    return lambda files: files.update({name: json.dumps(json.loads(files[name]) | more).encode()})


def test_nothing_of_the_old_release_carries_a_number() -> None:
    assert not [path for path in OLD.rglob("*") if path.is_file() and b"format" in path.read_bytes()]


def test_an_old_champion_is_compared_replaced_and_put_back(
    bucket: Bucket, trained: list[Pointer], old: Pointer
) -> None:
    registry = Registry(bucket)
    assert registry.current() == old
    assert [event.release for event in registry.history()] == [old.id]
    known = registry.load(old)
    split = Split(Pointer.from_out(known.provenance.train), Pointer.from_out(known.provenance.test))
    comparison = steps.check_metrics(trained[1], split)
    assert comparison.champion == old.id
    assert comparison.metrics["champion"] == pytest.approx(known.metrics.test, abs=1e-5)
    assert registry.promote(trained[1], "better", "test", {}).replaced == old.id
    assert registry.rollback(None, "test").release == old.id
    assert registry.promote(trained[2], "better", "test", {}).replaced == old.id
    assert registry.promote(registry.find(old.id), "by hand", "test", {}).replaced == trained[2].id
    assert [event.release for event in registry.history()] == [
        old.id,
        trained[1].id,
        old.id,
        trained[2].id,
        old.id,
    ]
    assert run("src.checker").returncode == 0


def test_an_old_release_is_reproduced_but_for_the_number_and_that_is_told(old: Pointer) -> None:
    done = run("src.pipeline", "reproduce", old.id)
    assert done.returncode == 1
    assert done.stderr.startswith("pipeline: training again gave ")
    assert "; metrics.json, profile.json, release.json differ: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_api_serves_an_old_release_that_a_person_signed_and_rejects_what_newer_code_wrote_by_name(
    bucket: Bucket, trained: list[Pointer], unsigned: Pointer, tmp_path: Path
) -> None:
    api, old = uvicorn(tmp_path), unsigned
    told = f"release {old.id} is not signed; whoever knows where it comes from signs it with: python -m "
    with pytest.raises(SignatureError, match=f"^{told}src.registry sign {old.id}$"):
        Registry(bucket).promote(old, "better", "test", {})
    assert f"WRONG  {CURRENT}: {told}" in run("src.checker", "model").stdout
    api.start()
    try:
        rejected = eventually(lambda: get(api, "/healthcheck").json()["rejected"])
        assert (rejected["release"], rejected["reason"].startswith(told)) == (old.id, True)
        assert get(api, "/readiness").status_code == 503
        before = Registry(bucket).history()
        command, _ = blocks("docs/signing.md", "sh")
        done = run(*command.replace("MD5", old.md5).split()[2:])
        assert (done.returncode, done.stderr) == (0, "")
        digests = {name: hashlib.sha256(file).hexdigest() for name, file in bucket.read_files(old)}
        assert dict(line.split()[::-1] for line in done.stdout.splitlines()[1:]) == digests
        key = name_key(os.environ["TRUSTED_KEYS"])
        assert done.stdout.startswith(f"release {old.id} is signed by key {key[:12]}, which says that its files are:\n")
        assert Registry(bucket).history() == before
        eventually(lambda: serves(api, old))
        answer = predict(api)
        for name in FILES:
            newer = forge_release(bucket, trained[0], add(name, format=99))
            bucket.put(CURRENT, newer.to_yaml().encode())
            eventually(lambda: (get(api, "/healthcheck").json()["rejected"] or {}).get("release") == newer.id)
            assert get(api, "/healthcheck").json()["rejected"]["reason"].endswith(f"{name} {UPDATE}")
            assert predict(api) == answer
        later = forge_release(bucket, trained[0], add(release.METRICS_FILE, later=1))
        later = forge_release(bucket, later, add(release.PROVENANCE_FILE, later=1))
        bucket.put(CURRENT, later.to_yaml().encode())
        eventually(lambda: serves(api, later))
    finally:
        api.stop()


@pytest.mark.parametrize("name", FILES)
def test_a_release_that_newer_code_wrote_is_not_promoted_and_the_checker_says_why(
    bucket: Bucket, trained: list[Pointer], old: Pointer, name: str
) -> None:
    newer = forge_release(bucket, trained[0], add(name, format=99))
    with pytest.raises(FormatError, match=f"^{name} {UPDATE}$"):
        Registry(bucket).promote(newer, "better", "test", {})
    assert Registry(bucket).current() == old
    Registry(bucket).register(newer)
    done = run("src.checker", "model")
    assert done.returncode == 1
    assert f"WRONG  release {newer.id}: {name} {UPDATE}\n" in done.stdout


def test_a_champion_that_newer_code_made_is_not_replaced_by_older_code(
    bucket: Bucket, trained: list[Pointer], old: Pointer
) -> None:
    newer = old.with_meta(promotion=dict(old.meta["promotion"]) | {"format": 99}).to_yaml().encode()
    bucket.put(CURRENT, newer)
    Registry(bucket).register(trained[0])
    for command in (["current"], ["history"], ["rollback", old.id], ["promote", trained[0].id]):
        done = run("src.registry", *command)
        assert (done.returncode, done.stderr) == (1, f"registry: {CURRENT} {UPDATE}\n")
    assert f"WRONG  {CURRENT}: {CURRENT} {UPDATE}\n" in run("src.checker", "model").stdout
    assert bucket.get(CURRENT) == newer


def test_an_event_that_newer_code_logged_is_told_by_the_history(bucket: Bucket, old: Pointer) -> None:
    (key,) = bucket.list("registry/promotions/")
    bucket.put(key, json.dumps(json.loads(bucket.get(key)) | {"format": 99}).encode())
    with pytest.raises(FormatError, match=UPDATE):
        Registry(bucket).history()


def test_names_that_this_code_does_not_know_are_ignored_in_events(bucket: Bucket, old: Pointer) -> None:
    events = Registry(bucket).history()
    (key,) = bucket.list("registry/promotions/")
    bucket.put(key, json.dumps(json.loads(bucket.get(key)) | {"later": 1}).encode())
    bucket.put(CURRENT, old.with_meta(promotion={**old.meta["promotion"], "later": 1}).to_yaml().encode())
    assert Registry(bucket).history() == events


def test_a_journal_without_numbers_is_resumed_and_a_newer_one_is_told(
    data_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trial,) = search.list_trials([MODEL], 1)
    Journal(tmp_path, "f").add(Result(trial.task, MODEL, trial.parameters), b"model")
    line = json.loads((tmp_path / LOG).read_bytes())
    assert line.pop("format") == 1
    (tmp_path / LOG).write_text(json.dumps(line | {"later": 1}) + "\n")
    assert Journal(tmp_path, "f", resume=True).list_missing([trial]) == []
    (tmp_path / LOG).write_text(json.dumps({"format": 99, "another": "shape"}) + "\n")
    assert learn_models.main(["--resume", "--data", str(data_csv), "--into", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"learn_models: {LOG.name}: line 1 {UPDATE}\n"
