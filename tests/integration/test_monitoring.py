"""A day of logged wines is measured as the bucket holds it; labels come from a file, and what is wrong is named."""

import gzip
import json
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from src.api.monitoring import EXAMPLE
from src.config import PROJECT
from src.core import dataset
from src.core.day_figures import DayFigures
from src.core.pointer import Pointer
from src.core.prediction_record import FIELDS, Prediction, encode
from src.core.release import Release
from src.core.wine import TARGET
from src.monitoring.run import run
from src.registry import Registry
from src.storage import prediction_log
from src.storage.bucket import Bucket, content_key
from tests.integration.test_api_limits import running
from tests.support import traffic
from tests.support.documents import blocks
from tests.support.webhook import webhook

DAY = datetime.now(UTC).date() - timedelta(days=1)
SULFUR = FIELDS.index("total_sulfur_dioxide")


def record(
    release: Release, name: str, wines: np.ndarray, day: date = DAY, worker: str = traffic.WORKER
) -> list[Prediction]:
    """Return what the API would log of these wines at noon."""
    noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 10**9
    return traffic.answer(release, name, pd.DataFrame(wines, columns=dataset.FEATURE_NAMES), noon, worker)


def draw(data_csv: Path, count: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return wines of the table, and their true classes."""
    table = dataset.read(data_csv).sample(count, random_state=1)
    wines = table[dataset.FEATURE_NAMES].to_numpy().copy()
    wines[:, SULFUR] += shift
    return wines, table[TARGET].to_numpy()


def monitoring(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "src.monitoring", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=900)


def read(bucket: Bucket, day: date = DAY) -> DayFigures:
    key = f"monitoring/{day}.json"
    return DayFigures.read_json(bucket.get(key), key)


@pytest.fixture
def champion(bucket: Bucket, trained: list[Pointer]) -> Release:
    Registry(bucket).promote(trained[0], "first", "test", {})
    return Registry(bucket).load(trained[0])


def test_a_quiet_day_then_labels_then_drift(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path, tmp_path: Path
) -> None:
    wines, truth = draw(data_csv, 250)
    predictions = record(champion, trained[0].id, wines)
    traffic.send(bucket, predictions)
    done = monitoring("run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{DAY}: 250 wines, 0 with a label; answered by: {trained[0].id} (250)\nno drift: ")
    assert "note: 0 wines have a label, and 30 are needed" in done.stdout
    quiet = read(bucket)
    assert quiet.drift and quiet.drift.alarms == () and quiet.performance and quiet.performance.expected_accuracy
    accuracy = np.mean([one.predicted for one in predictions] == truth)
    assert quiet.performance.expected_accuracy.low < accuracy < quiet.performance.expected_accuracy.high

    labels = tmp_path / "labels.csv"
    lines = [f"{one.id},{label}" for one, label in zip(predictions, truth, strict=True)]
    labels.write_text("\n".join(["id,quality", *lines]) + "\n")
    done = monitoring("label", str(labels), "--by", "ann")
    assert (done.returncode, done.stdout) == (0, "250 labels taken, 0 not\n"), done.stderr
    assert monitoring("run", "--date", str(DAY)).returncode == 0
    measured = read(bucket).performance
    assert measured and measured.labelled == 250
    assert measured.measured["Accuracy"].value == pytest.approx(accuracy, abs=1e-6)
    assert measured.measured["ROC_AUC"].test == champion.metrics.test["ROC_AUC"]

    later = DAY - timedelta(days=1)
    traffic.send(bucket, record(champion, trained[0].id, draw(data_csv, 250, 16.5)[0], later))
    done = monitoring("run", "--date", str(later))
    assert re.search(r"^DRIFT total sulfur dioxide: distance 0\.\d\d \(0\.", done.stdout, re.MULTILINE), done.stdout
    found = read(bucket, later).drift
    assert (
        found and found.alarms[0] == "total sulfur dioxide" and not [one for one in found.features[:6] if one.drifted]
    )


def test_the_report_is_one_page_that_asks_for_nothing_and_spells_what_it_was_told(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path
) -> None:
    predictions = record(champion, trained[0].id, draw(data_csv, 100)[0])
    traffic.send(bucket, predictions)
    bucket.put(f"predictions/date={DAY}/hour=13/<script>.jsonl.gz", b"hello")
    registry = Registry(bucket)
    run(registry, DAY)
    page = bucket.get(f"monitoring/{DAY}.html")
    text = page.decode()
    assert text.count("<svg") == 2 and "<h2>Drift</h2>" in text and "total sulfur dioxide (mg/dm³)" in text
    assert "<script" not in text and "&lt;script&gt;" in text
    assert not re.search(r"(src|href)=\"https?:|@import|url\(http", text)
    run(registry, DAY)
    assert bucket.get(f"monitoring/{DAY}.html") == page


def test_a_day_without_wines_or_with_few_says_so(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path
) -> None:
    registry = Registry(bucket)
    assert run(registry, DAY).notes == ("no wine of that day is in the log",)
    traffic.send(bucket, record(champion, trained[0].id, draw(data_csv, 40)[0]))
    few = run(registry, DAY)
    assert few.drift is None and few.performance and few.performance.expected_accuracy
    assert "different wines, and 50 are needed to tell whether they drift" in few.notes[0]


def test_a_wine_that_is_asked_again_and_again_counts_once(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path
) -> None:
    wines, _ = draw(data_csv, 80)
    traffic.send(bucket, record(champion, trained[0].id, np.vstack([wines, np.repeat(wines[:1], 500, axis=0)])))
    found = run(Registry(bucket), DAY)
    assert found.rows == 580 and found.drift
    assert found.drift.rows == len(np.unique(wines, axis=0)) and found.drift.alarms == ()


def test_what_cannot_be_read_is_named_and_the_rest_counts(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path
) -> None:
    predictions = record(champion, trained[0].id, draw(data_csv, 60)[0])
    traffic.send(bucket, predictions)
    traffic.send(bucket, record(champion, "0123456789ab", draw(data_csv, 5)[0], worker="ffffffff"))
    newer = encode(predictions[0]).replace(b'"format":1', b'"format":2')
    bucket.put(f"predictions/date={DAY}/hour=13/newer.jsonl.gz", gzip.compress(newer + b"\n"))
    content = gzip.compress(b"".join(encode(one) + b"\n" for one in predictions))
    bucket.put(f"predictions/date={DAY}/hour=14/cut.jsonl.gz", content[:-30])
    found = run(Registry(bucket), DAY)
    assert found.releases == {trained[0].id: 60, "0123456789ab": 5}
    assert found.drift and found.performance and found.performance.rows == 60
    told = "\n".join(found.unread.told)
    assert "newer.jsonl.gz: it has format 2" in told and "cut.jsonl.gz: the file is cut short" in told


def test_a_release_that_is_not_known_or_has_no_profile_is_told(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path
) -> None:
    wines, _ = draw(data_csv, 60)
    traffic.send(bucket, record(champion, "0123456789ab", wines))
    unknown = run(Registry(bucket), DAY)
    assert unknown.drift is None and "no release '0123456789ab' in the registry" in unknown.notes[0]
    old = PROJECT / "tests" / "support" / "old_release"
    for path in old.rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(old).as_posix(), path.read_bytes())
    traffic.send(bucket, record(champion, "93ea4d979d25", np.vstack([wines, wines]), worker="ffffffff"))
    Registry(bucket).sign("93ea4d979d25122ba6b6232637a64ee4")
    older = run(Registry(bucket), DAY)
    assert older.drift is None and older.performance and older.performance.expected_accuracy is None
    assert "was made by older code and has no profile" in older.notes[0]


def test_people_are_told_of_drift_and_of_its_end_by_the_latest_day_alone(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet, drifted, over = (DAY - timedelta(days=back) for back in (3, 2, 1))
    for day, shift in ((quiet, 0.0), (drifted, 16.5), (over, 0.0)):
        traffic.send(bucket, record(champion, trained[0].id, draw(data_csv, 250, shift)[0], day))
    registry = Registry(bucket)
    with webhook() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        for day in (quiet, drifted, drifted, quiet):  # the last is an older day
            run(registry, day)
        assert receiver.titles == ["wine: drift"]
        message = receiver.posts[0]["message"]
        assert "total sulfur dioxide drifted from what release" in message
        assert f"since {drifted} 00:00 UTC" in message
        assert f"run: python -m src.monitoring run --date {drifted}" in message
        for day in (over, drifted):
            run(registry, day)
        assert receiver.titles == ["wine: drift", "wine: drift is over"]


def test_labels_find_their_wines_by_the_features_in_uci_s_own_form(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path, tmp_path: Path
) -> None:
    wines, truth = draw(data_csv, 40)
    traffic.send(bucket, record(champion, trained[0].id, wines))
    uci = dataset.read(data_csv).sample(40, random_state=1)
    uci.to_csv(tmp_path / "uci.csv", index=False, sep=";")
    copies = 40 - len(np.unique(wines, axis=0))
    done = monitoring("label", str(tmp_path / "uci.csv"), "--by", "ann")
    assert done.stdout.startswith("40 labels taken"), done.stderr
    assert done.stderr.count("has the label") == 2 * copies
    single = pd.DataFrame(wines[:1] + 0.0333333333, columns=dataset.FEATURE_NAMES).astype(np.float32)
    batch = record(champion, trained[0].id, single.astype(str).astype(float).to_numpy(), worker="bbbbbbbb")
    traffic.send(bucket, batch)  # a batch's numbers have single precision
    lines = [",".join([*map(repr, wine), "6"]) for wine in (wines[:1] + 0.0333333333).tolist()]
    (tmp_path / "batch.csv").write_text("\n".join([",".join([*FIELDS, TARGET]), *lines]))
    done = monitoring("label", str(tmp_path / "batch.csv"), "--by", "ann")
    assert done.stdout.startswith("1 labels taken"), done.stderr
    lines = [",".join([*map(repr, wine), "6"]) for wine in (wines[0] + 0.5).reshape(1, -1).tolist()]
    (tmp_path / "snake.csv").write_text("\n".join([",".join([*FIELDS, TARGET]), *lines]))
    done = monitoring("label", str(tmp_path / "snake.csv"), "--by", "ann")
    assert done.returncode == 1
    assert "snake.csv: line 2: the wine is none of the predictions in the log of the last 90 days" in done.stderr


def test_each_wrong_line_of_labels_is_named_and_the_rest_counts(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path, tmp_path: Path
) -> None:
    predictions = record(champion, trained[0].id, draw(data_csv, 3)[0])
    traffic.send(bucket, predictions[:3])
    first, second, third = (one.id for one in predictions)
    unknown = first[:-8] + "ffffffff"
    lines = [
        "id,quality",
        f"{first},5",
        f"{unknown},5",
        f"{first},6",
        f"{second},12",
        "abc,5",
        f"{third}",
        f"{third},7",
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    done = monitoring("label", str(tmp_path / "labels.csv"), "--by", "ann")
    assert (done.returncode, done.stdout) == (1, "2 labels taken, 5 not\n")
    assert sorted(done.stderr.splitlines()) == [
        f"monitoring: labels.csv: line 3: {unknown} is none of the predictions in the log",
        f"monitoring: labels.csv: line 4: {first} has the label 5 already, which stands, and not 6",
        "monitoring: labels.csv: line 5: quality '12' is impossible, expected a class from 3 to 8",
        "monitoring: labels.csv: line 6: 'abc' is no prediction's id",
        "monitoring: labels.csv: line 7: it has 1 fields, expected 2",
    ]
    (tmp_path / "wrong.csv").write_text("ident,quality\n1,5\n")
    done = monitoring("label", str(tmp_path / "wrong.csv"), "--by", "ann")
    assert done.returncode == 1
    assert done.stderr.startswith("monitoring: wrong.csv: line 1: column 'fixed_acidity' is missing;")


def test_figures_of_newer_code_are_not_read_by_older(bucket: Bucket) -> None:
    content = run(Registry(bucket), DAY).to_json()
    assert json.loads(content)["format"] == 1


def test_the_api_shows_the_latest_day_or_the_one_that_is_asked_for(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path, tmp_path: Path
) -> None:
    with running(tmp_path) as api:
        url = api.url.replace("/liveness", "/monitoring")
        none = httpx.get(url)
        assert none.status_code == 404 and none.headers["content-type"] == "application/problem+json"
        assert "python -m src.monitoring run" in none.json()["detail"]
        before = DAY - timedelta(days=1)
        traffic.send(bucket, record(champion, trained[0].id, draw(data_csv, 60)[0], before))
        found = [run(Registry(bucket), day).model_dump(mode="json") for day in (before, DAY)]
        assert httpx.get(url).json() == found[1]
        assert httpx.get(url, params={"date": str(before)}).json() == found[0]
        assert httpx.get(url, params={"date": "2026-01-01"}).status_code == 404
        wrong = httpx.get(url, params={"date": "yesterday"})
        assert wrong.status_code == 422 and wrong.json()["errors"][0]["field"] == "date"
        bucket.put(f"monitoring/{DAY}.json", b'{"format": 9}')
        assert "update the code" in httpx.get(url).json()["detail"]


def test_a_guard_that_cannot_read_a_release_says_so_and_the_day_is_kept(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path
) -> None:
    Registry(bucket).promote(trained[1], "promoted by hand", "test", {})
    traffic.send(bucket, record(champion, trained[0].id, draw(data_csv, 60)[0]))
    bucket.client.put_object(Bucket=bucket.name, Key=content_key(trained[0].md5), Body=b"nonsense")
    kept = run(Registry(bucket), DAY)
    assert kept.guard is None and [note for note in kept.notes if note.startswith("the guard cannot judge: ")]
    assert read(bucket).rows == 60


def test_labels_that_are_too_large_are_named_and_the_rest_counts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(f"labels/date={DAY}/large.jsonl", b"x" * 1001)
    monkeypatch.setattr(prediction_log, "MAX_PART_BYTES", 1000)
    (told,) = run(Registry(bucket), DAY).unread.told
    assert "large.jsonl has 1001 bytes, expected at most 1000" in told


def test_the_example_in_the_documentation_is_one_that_is_answered() -> None:
    assert DayFigures.model_validate(EXAMPLE).model_dump(mode="json") == EXAMPLE


def test_the_commands_of_the_documentation_print_what_it_shows(
    bucket: Bucket, trained: list[Pointer], champion: Release, data_csv: Path, tmp_path: Path
) -> None:
    daily, label = blocks("docs/monitoring.md", "sh")
    shown, told = blocks("docs/monitoring.md", "text")
    predictions = record(champion, trained[0].id, draw(data_csv, 250, 16.5)[0], date(2026, 3, 1))
    traffic.send(bucket, predictions)
    ids = [predictions[0].id, "18eb2d7b760a723d1e6940df", predictions[1].id]
    (tmp_path / "labels.csv").write_text("\n".join(["id,quality", *(f"{one},5" for one in ids)]) + "\n")

    def print_all(commands: str) -> str:
        commands = commands.replace(".venv/bin/python", f"PYTHONPATH={PROJECT} {sys.executable}")
        done = subprocess.run(["bash", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stderr + done.stdout

    assert print_all(daily.splitlines()[1]) == shown
    assert print_all(label) == told
