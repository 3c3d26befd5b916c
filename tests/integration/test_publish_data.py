"""A new table: ``data.dvc`` changes after the bucket holds every byte, and nothing else of the person's does."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.pointer import Pointer
from src.storage.bucket import Bucket
from tests.support.throwaway import Checkout, throwaway_checkout


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout:
        yield checkout


@pytest.fixture
def new_csv(checkout: Checkout, data_csv: Path) -> Path:
    """Return a valid table of fewer rows, in the folder that the data itself has."""
    path = checkout.folder / "data" / "new.csv"
    path.parent.mkdir()
    path.write_text("\n".join(data_csv.read_text().splitlines()[:1000]) + "\n")
    return path


def publish(checkout: Checkout, csv: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.publish_data", str(csv)]
    return subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)


def test_a_new_table_is_versioned_and_pushed(bucket: Bucket, checkout: Checkout, new_csv: Path) -> None:
    done = publish(checkout, new_csv)
    assert done.returncode == 0, done.stderr
    pointer = Pointer.from_yaml((checkout.folder / "data.dvc").read_text())
    assert pointer.md5 in done.stdout
    assert dict(bucket.read_files(pointer)) == {"winequality-red.csv": new_csv.read_bytes()}
    assert (checkout.folder / "data" / "winequality-red.csv").read_bytes() == new_csv.read_bytes()


def test_a_store_that_is_unreachable_changes_nothing(
    bucket: Bucket, checkout: Checkout, new_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (checkout.folder / "data.dvc").read_bytes()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    done = publish(checkout, new_csv)
    assert done.returncode == 1
    assert done.stderr.startswith("data: the store does not answer")
    assert (checkout.folder / "data.dvc").read_bytes() == before
    assert [path.name for path in (checkout.folder / "data").iterdir()] == ["new.csv"]
