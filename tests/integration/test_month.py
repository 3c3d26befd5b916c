"""A month of live traffic, played through the real API, log, monitoring and pipeline in minutes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from src.config import PARAMETERS
from src.core import dataset
from src.core.day_figures import DayFigures
from src.core.pointer import Pointer
from src.core.prediction_record import FIELDS, Prediction, spell_time
from src.core.wine import TARGET
from src.monitoring import run as monitoring
from src.pipeline import run, steps
from src.registry import PROMOTE, ROLLBACK, Registry
from src.storage.bucket import Bucket
from src.storage.prediction_log import PREDICTIONS, Faults, read_part
from tests.conftest import committed_data
from tests.integration.test_api_limits import running
from tests.support import traffic
from tests.support.services import eventually
from tests.support.throwaway import throwaway_checkout

A_DAY = 200  # wines
QUIET = range(1, 15)
DRIFTED = range(15, 17)
WORSE = range(17, 21)
SO2 = "total sulfur dioxide"


@dataclass
class Month:
    """The days to come, whose wines are asked about now: the log is moved to the day that each was asked for."""

    registry: Registry
    table: pd.DataFrame
    folder: Path

    def __post_init__(self) -> None:
        """Begin tomorrow: no wine was asked about before the promotions, which happen now."""
        self.generator = np.random.default_rng(0)
        self.first = datetime.now(UTC).date()
        self.wines: dict[int, pd.DataFrame] = {}
        self.ids: dict[int, list[str]] = {}

    @property
    def bucket(self) -> Bucket:
        return self.registry.bucket

    def date(self, day: int) -> date:
        return self.first + timedelta(days=day)

    def draw(self, drift: float = 0.0) -> pd.DataFrame:
        """Return wines that are like those of the table, and none of them."""
        drawn = self.table.sample(A_DAY, random_state=self.generator).reset_index(drop=True)
        noise = self.generator.normal(1, 0.01, (A_DAY, len(dataset.FEATURE_NAMES)))
        drawn[dataset.FEATURE_NAMES] = (drawn[dataset.FEATURE_NAMES] * noise).round(5)
        drawn["density"] = self.table["density"].sample(A_DAY, random_state=self.generator).to_numpy()
        drawn[SO2] += drift * self.table[SO2].std()
        return drawn

    def ask(self, days: range, drift: float = 0.0) -> None:
        """Let the service answer the wines of these days, and its log be theirs."""
        with self.serving() as client:
            for day in days:
                self.wines[day] = wines = self.draw(drift)
                rows = wines[dataset.FEATURE_NAMES].set_axis(FIELDS, axis=1).to_dict("records")
                answer = client.post("/predict/batch", json=rows, headers={"x-request-id": f"day-{day}"})
                answer.raise_for_status()
        self.move()

    @contextmanager
    def serving(self) -> Iterator[httpx.Client]:
        """Run the service until it is ready; when it has ended, all that it answered is in the bucket."""
        with running(self.folder, API_DRAIN_SECONDS="0", API_STOP_SECONDS="15") as api:
            with httpx.Client(base_url=api.url.removesuffix("/liveness"), timeout=60) as client:
                eventually(lambda: client.get("/readiness").is_success)
                yield client

    def move(self) -> None:
        """Move what was logged to the days that were asked for; what today has stays as well."""
        while any(len(predictions) < A_DAY for predictions in self.read_log().values()):
            with self.serving():  # what one service had no time to send, the next sends
                pass
        for day, predictions in self.read_log().items():
            if day not in self.ids:
                shift = int((datetime.combine(self.date(day), time(12), UTC)).timestamp()) * 10**9
                moved = [_move(one, shift) for one in predictions]
                self.ids[day] = [one.id for one in sorted(moved, key=lambda one: int(one.id.partition("-")[2]))]
                traffic.send(self.bucket, moved)

    def read_log(self) -> dict[int, list[Prediction]]:
        """Return what was logged today by the day that it was asked for."""
        days: dict[int, list[Prediction]] = {day: [] for day in self.wines}
        faults = Faults()
        for key in self.bucket.list(f"{PREDICTIONS}date={self.first:%Y-%m-%d}/"):
            for one in read_part(self.bucket, key, faults):
                days[int(one.request_id.removeprefix("day-"))].append(one)
        assert faults == Faults()
        return days

    def label(self, days: range) -> None:
        """Tell the true grades of these days' wines to the service."""
        with self.serving() as client:
            for day in days:
                told = [
                    {"id": one, TARGET: int(label)}
                    for one, label in zip(self.ids[day], self.wines[day][TARGET], strict=True)
                ]
                assert len(client.post("/labels", json=told).raise_for_status().json()["taken"]) == A_DAY

    def observe(self, days: range) -> list[DayFigures]:
        return [monitoring.run(self.registry, self.date(day)) for day in days]


def _move(one: Prediction, moment: int) -> Prediction:
    """Return a prediction as if it had been made at a moment (ns)."""
    identifier = f"{moment:016x}{one.id[16:]}"
    return replace(one, id=identifier, time=spell_time(moment))


@pytest.fixture
def month(bucket: Bucket, trained: list[Pointer], data_csv: Path, tmp_path: Path) -> Month:
    """Return a month at whose beginning the release of the configured parameters serves."""
    registry = Registry(bucket)
    registry.promote(trained[0], "first", "test", {})
    return Month(registry, dataset.read(data_csv), tmp_path)


@pytest.mark.timeout(900)
def test_a_month_is_quiet_drifts_is_guarded_and_teaches_the_next_champion(
    month: Month, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = month.registry
    month.ask(QUIET)
    quiet = month.observe(QUIET)
    assert [day.rows for day in quiet] == [A_DAY] * len(quiet)
    assert sum(bool(day.drift and day.drift.alarms) for day in quiet) <= 1

    month.ask(DRIFTED, drift=0.5)
    found = [SO2 in day.drift.alarms for day in month.observe(DRIFTED) if day.drift]
    assert any(found)

    worse, _ = run.make_release(
        committed_data(),
        steps.describe_run("test", "train_model"),
        parameters={**PARAMETERS, "C": 0.001},
        register=True,
    )
    registry.promote(worse, "promoted by hand", "test", {})
    month.ask(WORSE)
    month.label(range(DRIFTED.start, WORSE.stop))
    monkeypatch.setenv("GUARD", "rollback")
    guarded = month.observe(WORSE)
    rolled = [day.date for day in guarded if day.guard and day.guard.rolled_back]
    assert len(rolled) == 1
    back = registry.history()[-1]
    assert (back.kind, back.release, back.replaced) == (ROLLBACK, trained[0].id, worse.id)
    with month.serving() as client:
        assert client.get("/readiness").json()["release"] == trained[0].id

    with throwaway_checkout() as checkout:
        proposed = do(checkout.folder, "src.publish_data", "", "--from", "labels", "--accept", "a drifted month")
        assert f"{A_DAY * 6} labelled wines are new to the table" in proposed
        learnt = do(checkout.folder, "src.pipeline")
    promoted = registry.history()[-1]
    assert (promoted.kind, promoted.replaced) == (PROMOTE, trained[0].id), learnt
    assert promoted.metrics["replay"]["rows"] == A_DAY * (WORSE.stop - 1)
    data = registry.load(registry.find(promoted.release)).provenance.data
    assert data["md5"] != committed_data().md5
    print(
        f"\nquiet days with a false alarm: {sum(bool(day.drift and day.drift.alarms) for day in quiet)} of {len(quiet)}"
    )
    print(f"drift of half a standard deviation found after {found.index(True) + 1} day(s)")
    print(f"the guard rolled back on {rolled[0]}, by: {back.reason}")
    print(f"the labelled wines made {promoted.release}: {promoted.reason}")


def do(folder: Path, module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
