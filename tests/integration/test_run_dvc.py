"""DVC itself on the bucket that the environment names: it finds good bytes and refuses others, whoever else checks."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from local.throwaway import Checkout, throwaway_checkout
from src import registry
from src.bucket import Bucket
from src.pointer import Pointer
from tests.conftest import committed_data
from tests.integration.test_checker import file_key


@pytest.fixture(scope="module")
def shared() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout:
        yield checkout


@pytest.fixture
def checkout(shared: Checkout) -> Checkout:
    """Return a checkout whose DVC cache is empty."""
    shutil.rmtree(shared.folder / ".dvc" / "cache", ignore_errors=True)
    return shared


def fetch(checkout: Checkout) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.run_dvc", "fetch", "data.dvc"]
    return subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)


def alter(bucket: Bucket, key: str) -> None:
    bucket.put(key, bucket.get(key)[:-1] + b"x")


def remove(bucket: Bucket, key: str) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=key)


def test_good_data_is_fetched_from_the_bucket(checkout: Checkout, data_in_bucket: Pointer) -> None:
    done = fetch(checkout)
    assert done.returncode == 0, done.stderr
    md5 = data_in_bucket.md5
    assert (checkout.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).is_file()


@pytest.mark.parametrize("damage", [remove, alter])
def test_bad_data_is_refused_by_dvc_alone(
    checkout: Checkout, bucket: Bucket, data_in_bucket: Pointer, damage: Callable[[Bucket, str], None]
) -> None:
    damage(bucket, file_key(bucket, committed_data(), "winequality-red.csv"))
    done = fetch(checkout)
    assert done.returncode != 0
    assert "failed to fetch" in done.stderr.lower()


def test_dvc_finds_the_champion_and_leaves_no_pointer_behind(
    checkout: Checkout, bucket: Bucket, trained: list[Pointer]
) -> None:
    registry.promote(bucket, trained[0], "first", "test", {})
    done = checkout.make("check-model")
    assert done.returncode == 0, done.stdout
    (folder,) = (checkout.folder / ".dvc" / "cache" / "files" / "md5" / trained[0].md5[:2]).iterdir()
    assert folder.name == trained[0].md5[2:]
    assert not (checkout.folder / "champion.dvc").exists()


def test_no_champion_fails(checkout: Checkout, bucket: Bucket) -> None:
    done = checkout.make("check-model")
    assert done.returncode != 0
    assert "no champion yet" in done.stdout


def test_a_store_that_is_away_is_one_line(checkout: Checkout, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    done = fetch(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("run_dvc: the store does not answer")
    assert len(done.stderr.splitlines()) == 1
