"""Tables that no champion may learn from unseen: held by ``make data`` and by the daily run, until a person accepts."""

import getpass
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import ANY

import pandas as pd
import pytest
import yaml

from src.core import dataset
from src.core.pointer import Pointer
from src.core.wine import TARGET
from src.registry import Registry
from src.storage.bucket import Bucket, content_key
from tests.conftest import push_data
from tests.support.documents import blocks, shows
from tests.support.throwaway import Checkout, throwaway_checkout

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def shared() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout:
        yield checkout


@pytest.fixture
def checkout(shared: Checkout) -> Iterator[Checkout]:
    """Return a checkout that names the published table."""
    before = (shared.folder / "data.dvc").read_bytes()
    yield shared
    (shared.folder / "data.dvc").write_bytes(before)


@pytest.fixture
def champion(bucket: Bucket, trained: list[Pointer]) -> Pointer:
    """Promote the release that learnt from the published table."""
    Registry(bucket).promote(trained[0], "first", "test", {})
    return trained[0]


def divide_alcohol(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(alcohol=table["alcohol"] / 100)


def drop_rare_grades(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table[TARGET].isin((3, 8))]


def keep_nineteen(table: pd.DataFrame) -> pd.DataFrame:
    return table.head(19)


def turn_grades(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{TARGET: 11 - table[TARGET]})


UNSEEN = [
    pytest.param(divide_alcohol, "alcohol shifted", "times 0.01", id="alcohol divided by 100"),
    pytest.param(drop_rare_grades, "classes lost", "quality 3 and 8 have no row", id="grades 3 and 8 missing"),
    pytest.param(keep_nineteen, "few rows", "19 rows, expected at least 100", id="19 rows"),
    pytest.param(turn_grades, "figures fell", "units, labels or their meaning changed", id="the best called the worst"),
]


def write_changed(data_csv: Path, folder: Path, change: Change) -> Path:
    path = folder / "new.csv"
    dataset.write(change(dataset.read(data_csv)), path)
    return path


def run(checkout: Checkout, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("change", "finding", "words"), UNSEEN)
def test_make_data_holds_it_and_says_what_and_how_it_passes(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path, change: Change, finding: str, words: str
) -> None:
    before = (checkout.folder / "data.dvc").read_bytes()
    csv = write_changed(data_csv, checkout.folder, change)
    done = run(checkout, "src.publish_data", str(csv))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("data: held: ")
    assert finding in line and words in line
    assert f'make data CSV={csv} ACCEPT="{line.partition("ACCEPT=")[2][1:-1]}"' in line
    assert (checkout.folder / "data.dvc").read_bytes() == before


@pytest.mark.parametrize(("change", "finding", "words"), UNSEEN)
def test_the_daily_run_holds_it_and_the_champion_stays(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path, change: Change, finding: str, words: str
) -> None:
    pointer = push_data(bucket, write_changed(data_csv, checkout.folder, change))
    (checkout.folder / "data.dvc").write_text(pointer.to_yaml())
    done = run(checkout, "src.pipeline")
    assert done.returncode == 1
    assert done.stdout.startswith("pull_data ") and "prepare_data" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("pipeline: held: ")
    assert finding in line and words in line and "ACCEPT=" in line
    now = Registry(bucket).current()
    assert now and now.md5 == champion.md5


def test_make_data_prints_what_the_documentation_shows(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path
) -> None:
    write_changed(data_csv, checkout.folder, divide_alcohol)
    shown, accept, _, _ = blocks("docs/data.md", "text")
    done = run(checkout, "src.publish_data", "new.csv")
    assert shows(shown, done.stdout + done.stderr), done.stdout + done.stderr
    subprocess.run(["sh", "-e", "-c", accept], cwd=checkout.folder, check=True, capture_output=True)
    (meta,) = map(yaml.safe_load, blocks("docs/data.md", "yaml"))
    written = Pointer.from_yaml((checkout.folder / "data.dvc").read_text()).meta
    own = {"by": getpass.getuser(), "time": ANY}
    assert written == {**meta["meta"], **own, "accepted": {**meta["meta"]["accepted"], **own, "md5": ANY}}


def test_what_a_person_accepts_passes_and_travels_into_the_release(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path
) -> None:
    csv = write_changed(data_csv, checkout.folder, divide_alcohol)
    why = 'alcohol shifted: "new laboratory"'
    done = checkout.make("data", f"CSV={csv}", f"ACCEPT={why}")
    assert done.returncode == 0, done.stdout
    accepted = Pointer.from_yaml((checkout.folder / "data.dvc").read_text()).meta["accepted"]
    assert accepted["text"] == why
    assert accepted["findings"] == ["alcohol shifted", "rows lost", "figures fell"]
    assert accepted["by"] == getpass.getuser() and accepted["time"].startswith("20")

    passed = run(checkout, "src.pipeline")
    assert passed.returncode == 0, passed.stderr
    (new,) = set(Registry(bucket).releases()) - {champion.id}
    pointer = Registry(bucket).find(new)
    known = Registry(bucket).load(pointer).provenance.data
    assert known["accepted"] == {"findings": accepted["findings"], "text": why}
    assert pointer.meta["data_accepted"] == {"by": accepted["by"], "time": accepted["time"]}
    again = run(checkout, "src.pipeline", "reproduce", new)
    assert again.returncode == 0, again.stderr


def test_what_was_accepted_of_other_bytes_is_accepted_of_none(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path
) -> None:
    pointer = push_data(bucket, write_changed(data_csv, checkout.folder, divide_alcohol))
    findings = ["alcohol shifted", "rows lost", "figures fell"]
    stale = pointer.with_meta(accepted={"md5": champion.md5, "findings": findings, "text": "of another table"})
    (checkout.folder / "data.dvc").write_text(stale.to_yaml())
    assert "held: alcohol shifted" in run(checkout, "src.pipeline").stderr


def test_what_nobody_accepted_is_held_beside_what_somebody_did(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path
) -> None:
    pointer = push_data(bucket, write_changed(data_csv, checkout.folder, divide_alcohol))
    half = pointer.with_meta(accepted={"md5": pointer.md5, "findings": ["rows lost", "figures fell"], "text": "a year"})
    (checkout.folder / "data.dvc").write_text(half.to_yaml())
    error = run(checkout, "src.pipeline").stderr
    assert "held: alcohol shifted" in error and "rows lost" not in error


def test_a_small_change_goes_on_and_is_shown(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path
) -> None:
    csv = write_changed(data_csv, checkout.folder, lambda table: pd.concat([table.iloc[50:], table.iloc[:20]]))
    done = run(checkout, "src.publish_data", str(csv), "--accept", "not needed")
    assert done.returncode == 0, done.stderr
    assert "dropped" in done.stdout and "PSI" in done.stdout
    meta = Pointer.from_yaml((checkout.folder / "data.dvc").read_text()).meta
    assert meta["rows"] == 1569 and "accepted" not in meta


def test_a_first_table_is_checked_for_rows_and_classes_alone(
    bucket: Bucket, checkout: Checkout, data_csv: Path
) -> None:
    few = run(checkout, "src.publish_data", str(write_changed(data_csv, checkout.folder, keep_nineteen)))
    assert few.stderr.startswith("data: held: few rows (19 rows, expected at least 100); classes lost")
    first = run(checkout, "src.publish_data", str(write_changed(data_csv, checkout.folder, divide_alcohol)))
    assert first.returncode == 0, first.stderr


def test_a_table_that_was_lost_is_told_and_may_be_done_without(
    bucket: Bucket, champion: Pointer, checkout: Checkout, data_csv: Path
) -> None:
    known = Registry(bucket).load(champion).provenance
    bucket.client.delete_object(Bucket=bucket.name, Key=content_key(known.data["md5"]))
    csv = str(write_changed(data_csv, checkout.folder, lambda table: table.head(1500)))
    held = run(checkout, "src.publish_data", csv)
    assert held.stderr.startswith("data: held: nothing to compare with (bucket ")
    assert run(checkout, "src.publish_data", csv, "--accept", "it was lost").returncode == 0
