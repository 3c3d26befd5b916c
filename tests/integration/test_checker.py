"""The checker names every pointer whose bytes are missing or altered."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from src.config import PROJECT
from src.core.pointer import Pointer
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket, content_key
from tests.conftest import committed_data


@pytest.fixture
def promoted(bucket: Bucket, trained: list[Pointer]) -> list[Pointer]:
    """Promote two of the releases."""
    for pointer in trained[:2]:
        Registry(bucket).promote(pointer, "better", "test", {})
    return trained[:2]


def check(*parts: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.checker", *parts]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


def file_key(bucket: Bucket, pointer: Pointer, name: str) -> str:
    entries = json.loads(bucket.get(content_key(pointer.md5)))
    return content_key(next(entry["md5"] for entry in entries if entry["relpath"] == name))


def test_a_good_bucket_passes(promoted: list[Pointer]) -> None:
    done = check()
    assert done.returncode == 0, done.stdout
    names = [line.split(":")[0] for line in done.stdout.splitlines()[:-1]]
    releases = sorted(pointer.id for pointer in promoted)
    assert names == ["ok     data.dvc", "ok     registry/current.dvc", *(f"ok     release {id_}" for id_ in releases)]


def test_altered_bytes_of_a_release_are_named(bucket: Bucket, promoted: list[Pointer]) -> None:
    key = file_key(bucket, promoted[0], "model.onnx")
    bucket.put(key, bucket.get(key)[:-1] + b"x")
    done = check()
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert line.startswith(f"WRONG  release {promoted[0].id}: {key} has md5")


def test_the_champion_is_named_as_such(bucket: Bucket, promoted: list[Pointer]) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=file_key(bucket, promoted[1], "metrics.json"))
    lines = [line for line in check("model").stdout.splitlines() if line.startswith("WRONG")]
    assert [line.split(":")[0] for line in lines] == [
        "WRONG  registry/current.dvc",
        f"WRONG  release {promoted[1].id}",
    ]


def test_an_unsigned_release_is_named_and_is_wrong_as_the_champion_alone(
    bucket: Bucket, promoted: list[Pointer]
) -> None:
    other, champion = promoted[0], Registry(bucket).current()
    assert champion
    bucket.put(f"registry/releases/{other.id}.dvc", replace(other, meta={}).to_yaml().encode())
    done = check("model")
    assert done.returncode == 0
    assert f"unsigned  release {other.id}: release {other.id} is not signed" in done.stdout
    assert done.stdout.endswith("all pointers hold, but for 1 unsigned\n")
    event = {"promotion": champion.meta["promotion"]}
    bucket.put(CURRENT, replace(champion, meta=event).to_yaml().encode())
    done = check("model")
    assert done.returncode == 1
    assert f"WRONG  {CURRENT}: release {champion.id} is not signed" in done.stdout


def test_missing_data_is_named_and_the_model_may_be_checked_alone(bucket: Bucket, promoted: list[Pointer]) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=file_key(bucket, committed_data(), "winequality-red.csv"))
    assert "WRONG  data.dvc" in check().stdout
    assert check("data").returncode == 1
    assert check("model").returncode == 0


def test_an_unreadable_champion_is_named(bucket: Bucket, promoted: list[Pointer]) -> None:
    bucket.put(CURRENT, b"outs: []")
    done = check("model")
    assert done.returncode == 1
    assert "WRONG  registry/current.dvc: not a .dvc file" in done.stdout


def test_no_champion_is_wrong(bucket: Bucket) -> None:
    assert "no champion yet" in check("model").stdout
    assert check("model").returncode == 1


def test_a_store_that_is_unreachable_is_one_line(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    done = check()
    assert done.returncode == 1
    assert done.stderr.startswith("checker: the store does not answer")
