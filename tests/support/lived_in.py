"""A bucket that people have worked with for some days: searched, promoted, asked, measured, labelled, and alarmed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd

from src import learn_models
from src.config import MODEL
from src.core import dataset
from src.core.pointer import Pointer, Split
from src.monitoring.run import run as measure
from src.pipeline import steps
from src.registry import Registry
from src.search.journal import Journal
from src.search.trials import Rows, evaluate, list_trials
from src.storage.bucket import Bucket
from tests.conftest import committed_data
from tests.integration.test_api_limits import running
from tests.support import traffic
from tests.support.releases import make_release
from tests.support.services import Service, eventually

TODAY = datetime.now(UTC).date()
QUIET, DRIFTED = TODAY - timedelta(days=2), TODAY - timedelta(days=1)
RUN = "scheduled__2026-03-02T00:00:00+00:00"
SHIFT = 16.5  # mg/dm³ of total sulfur dioxide: half a standard deviation


@dataclass(frozen=True)
class LivedIn:
    """The bucket, the API on it, the champion and the release that it replaced, and the last challenger."""

    bucket: Bucket
    api: Service
    champion: Pointer
    replaced: Pointer
    challenger: Pointer

    @property
    def url(self) -> str:
        """Return the address of the API."""
        return self.api.url.removesuffix("/liveness")

    def get(self, path: str) -> httpx.Response:
        """Ask the API."""
        return httpx.get(f"{self.url}{path}", timeout=10)


@contextmanager
def live_in(bucket: Bucket, trained: list[Pointer], csv: Path, folder: Path) -> Iterator[LivedIn]:
    """Fill the bucket that the environment names by the stack's own steps, and run two workers of the API on it."""
    champion, challenger = trained[:2]
    registry = Registry(bucket)
    provenance = registry.load(champion).provenance
    split = Split(Pointer.from_out(provenance.train), Pointer.from_out(provenance.test))
    _search(csv, folder / "search")
    replaced = make_release(committed_data(), {"C": 0.001})
    registry.promote(replaced, "there is no champion yet", "shell", {})
    decided = steps.check_metrics(champion, split, RUN.replace("-02T", "-01T"))
    registry.register(champion)
    steps.update_model(champion, decided, RUN.replace("-02T", "-01T"))
    table = dataset.read(csv).sample(250, random_state=1)
    for day, shift in ((QUIET, 0.0), (DRIFTED, SHIFT)):
        wines = table.assign(**{"total sulfur dioxide": table["total sulfur dioxide"] + shift})
        predictions = traffic.answer(registry.load(champion), champion.id, wines, _noon(day))
        traffic.send(bucket, predictions)
        if day == QUIET:
            traffic.label(bucket, predictions, pd.DataFrame(table))
        measure(registry, day)
    registry.register(challenger)
    steps.check_metrics(challenger, split, RUN)
    with running(folder, API_WORKERS="2") as api:
        eventually(lambda: httpx.get(api.url.replace("liveness", "readiness")).is_success)
        yield LivedIn(bucket, api, champion, replaced, challenger)


def _search(csv: Path, folder: Path) -> None:
    """Try a few of the grid and publish what came out, without ClearML."""
    rows, trials = Rows.split(dataset.read(csv)), list_trials([MODEL], 4)
    journal = Journal(folder, rows.fingerprint)
    for trial in trials:
        journal.add(*evaluate(trial, rows))
    learn_models.publish(journal.describe(trials, {}))


def _noon(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 10**9
