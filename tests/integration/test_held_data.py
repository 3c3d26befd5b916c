"""Tables that no champion may learn from unseen: held by ``make data`` and by the daily run, until a person accepts."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from src.core import dataset
from src.core.pointer import Pointer
from src.core.wine import TARGET
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import push_data
from tests.support.throwaway import Checkout, throwaway_checkout

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout:
        yield checkout


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
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("pipeline: held: ")
    assert finding in line and words in line and "ACCEPT=" in line
    now = Registry(bucket).current()
    assert now and now.md5 == champion.md5
