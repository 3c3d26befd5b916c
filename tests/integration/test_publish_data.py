"""A new table: ``data.dvc`` changes after the bucket holds every byte, and nothing else of the person's does."""

import getpass
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.core import dataset
from src.core.pointer import Pointer
from src.publish_data import is_local
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import committed_data
from tests.support import traffic
from tests.support.documents import blocks
from tests.support.gitlab import Project
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


def test_equal_tables_have_equal_md5_whatever_they_came_from(bucket: Bucket, checkout: Checkout, new_csv: Path) -> None:
    publish(checkout, new_csv)
    before = (checkout.folder / "data.dvc").read_bytes()
    new_csv.write_bytes(b"\xef\xbb\xbf" + new_csv.read_bytes().replace(b",", b";").replace(b"\n", b"\r\n"))
    done = publish(checkout, new_csv)
    assert "new.csv was read with a byte order mark; ';' between the fields; line ends of Windows" in done.stdout
    assert (checkout.folder / "data.dvc").read_bytes() == before


def test_bytes_that_no_teammate_can_reach_are_told(bucket: Bucket, checkout: Checkout, new_csv: Path) -> None:
    assert "a teammate's clone will not find them; set BUCKET to a shared store" in publish(checkout, new_csv).stdout


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("http://10.0.0.5:9000", False),
        ("http://minio:9000", False),
    ],
)
def test_an_address_of_this_machine_is_known(endpoint: str, expected: bool) -> None:
    assert is_local(endpoint) is expected


def test_the_log_shows_each_version_and_who_accepted_what(bucket: Bucket, checkout: Checkout, new_csv: Path) -> None:
    Project(checkout).commit()
    publish(checkout, new_csv)
    new_csv.write_text("\n".join(new_csv.read_text().splitlines()[:20]) + "\n")
    uncommitted = checkout.make("data-log").stdout.splitlines()
    assert [line.split("  ")[0] for line in uncommitted][:1] == ["not committed"]
    assert f"  {getpass.getuser()}  999 rows  nothing to compare with" in uncommitted[0]
    Project(checkout).git("commit", "--all", "--message", "New data")
    done = checkout.make("data", f"CSV={new_csv}", "ACCEPT=few rows: a sample")
    assert done.returncode == 0, done.stdout
    newest, accepted, second, first = checkout.make("data-log").stdout.splitlines()
    assert newest.endswith("19 rows  nothing to compare with; few rows; classes lost")
    assert accepted.startswith(f"    accepted by {getpass.getuser()} at 20")
    assert accepted.endswith(": few rows: a sample")
    assert "somebody  999 rows" in second and "somebody  – rows" in first
    assert committed_data().id in first


def test_a_checkout_of_an_older_version_pulls_without_a_question(
    bucket: Bucket, checkout: Checkout, new_csv: Path, data_in_bucket: Pointer
) -> None:
    project = Project(checkout)
    project.commit()
    publish(checkout, new_csv)
    project.git("commit", "--quiet", "--all", "--message", "A new table")
    *_, block = blocks("docs/data.md", "text")
    assert block.startswith("git checkout HEAD~1 data.dvc\n")
    subprocess.run(["sh", "-e", "-c", block], cwd=checkout.folder, check=True)
    assert (checkout.folder / "data" / "winequality-red.csv").stat().st_size == data_in_bucket.size


def test_a_pull_never_deletes_what_the_bucket_lacks(
    bucket: Bucket, checkout: Checkout, data_in_bucket: Pointer
) -> None:
    own = checkout.folder / "data" / "own.csv"
    own.parent.mkdir()
    own.write_text("mine\n")
    done = checkout.make("check-data")
    assert done.returncode != 0
    assert "run_dvc: data/own.csv would be lost, for the bucket holds no such bytes; move it away" in done.stdout
    assert own.read_text() == "mine\n"


def test_labelled_wines_are_added_once_with_who_told_it_and_when(
    bucket: Bucket, checkout: Checkout, trained: list[Pointer], data_csv: Path
) -> None:
    release = Registry(bucket).load(trained[0])
    table = dataset.read(data_csv)
    known, fresh = table.iloc[:3], table.iloc[3:8].assign(alcohol=13.37)
    batch = table[table["alcohol"].astype(np.float32).astype(float).round(6) != table["alcohol"]]
    assert len(batch) >= 6  # what single precision spells otherwise
    batch = batch.astype(np.float32).astype(str).astype(float).astype({"quality": int})  # as the log has a batch
    asked = pd.concat([known, fresh, fresh.iloc[:1], batch])
    logged = traffic.answer(release, trained[0].id, asked)
    traffic.send(bucket, logged)
    traffic.label(bucket, logged, asked)
    bucket.put("labels/date=2026-01-01/broken.jsonl", b"no label\n")
    bucket.put("labels/date=someday/broken.jsonl", b"no label\n")
    *_, block, _ = blocks("docs/data.md", "text")
    assert block == "make data FROM=labels\n"
    command = ["sh", "-e", "-c", block]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 labelled wines are new to the table" in done.stdout
    assert "left out: labels/date=2026-01-01/broken.jsonl, line 1" in done.stdout
    assert "left out: labels/date=someday: it is the folder of no day" in done.stdout
    pointer = Pointer.from_yaml((checkout.folder / "data.dvc").read_text())
    assert pointer.meta["labelled"]["rows"] == 5 and pointer.meta["labelled"]["by"] == ["test"]
    now = dataset.read(checkout.folder / "data" / "winequality-red.csv")
    pd.testing.assert_frame_equal(now, pd.concat([table, fresh], ignore_index=True))
    again = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert again.returncode != 0 and f"none of {len(asked)} labelled wines is new to the table" in again.stderr
