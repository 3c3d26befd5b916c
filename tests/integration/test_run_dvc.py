"""DVC itself on the bucket that the environment names: it finds good bytes and rejects others, whoever else checks."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from src.core import wine
from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import committed_data
from tests.integration.test_checker import file_key
from tests.support.gitlab import Project
from tests.support.throwaway import Checkout, throwaway_checkout


@pytest.fixture(scope="module")
def shared() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout:
        Project(checkout).commit()
        yield checkout


@pytest.fixture
def checkout(shared: Checkout) -> Checkout:
    """Return a checkout whose DVC cache is empty, and that holds no data."""
    for folder in (".dvc/cache", "data"):
        shutil.rmtree(shared.folder / folder, ignore_errors=True)
    return shared


def pull(checkout: Checkout) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.run_dvc", "pull", "data.dvc"]
    return subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)


def alter(bucket: Bucket, key: str) -> None:
    bucket.put(key, bucket.get(key)[:-1] + b"x")


def remove(bucket: Bucket, key: str) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key=key)


def test_good_data_is_pulled_from_the_bucket(checkout: Checkout, data_in_bucket: Pointer) -> None:
    done = pull(checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout.folder / "data" / wine.FILE).stat().st_size == data_in_bucket.size


@pytest.mark.parametrize("damage", [remove, alter])
def test_bad_data_is_rejected_by_dvc_alone(
    checkout: Checkout, bucket: Bucket, data_in_bucket: Pointer, damage: Callable[[Bucket, str], None]
) -> None:
    damage(bucket, file_key(bucket, committed_data(), wine.FILE))
    done = pull(checkout)
    assert done.returncode != 0
    assert not (checkout.folder / "data" / wine.FILE).exists()


def test_dvc_pulls_the_champion_and_leaves_nothing_behind(
    checkout: Checkout, bucket: Bucket, trained: list[Pointer]
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    done = checkout.make("check-model")
    assert done.returncode == 0, done.stdout
    assert "4 files added" in done.stdout
    assert list(checkout.folder.glob("champion-*")) == []


def test_no_champion_fails(checkout: Checkout, bucket: Bucket) -> None:
    done = checkout.make("check-model")
    assert done.returncode != 0
    assert "no champion yet" in done.stdout


def test_a_store_that_is_unreachable_is_one_line(
    checkout: Checkout, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    done = pull(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith("run_dvc: the store does not answer")
    assert len(done.stderr.splitlines()) == 1
