"""What the page shows can be asked for: each answer comes from a bucket that people have worked with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from src.config import SEARCH_RULE, SplitRule
from src.core import dataset
from src.core.wine import CLASSES, EXAMPLE, TARGET
from src.registry import PROMOTE, Registry
from src.storage.bucket import Bucket
from tests.conftest import new_bucket
from tests.integration.test_api_limits import running
from tests.support.lived_in import DRIFTED, QUIET, RUN, LivedIn
from tests.support.services import Service, eventually

READS = ("/history", "/decision", "/experiments", "/monitoring", "/monitoring/days", "/alerts")


@dataclass(frozen=True)
class Empty:
    """A bucket that holds nothing, and the API on it."""

    bucket: Bucket
    api: Service

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.api.url.replace("/liveness", path), timeout=10)

    @contextmanager
    def holding(self, **objects: bytes) -> Iterator[None]:
        """Let the bucket hold these until the block ends."""
        for key, content in objects.items():
            self.bucket.put(key, content)
        yield
        for key in objects:
            self.bucket.client.delete_object(Bucket=self.bucket.name, Key=key)


@pytest.fixture(scope="module")
def empty(store: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Empty]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(store, monkeypatch)
        with running(tmp_path_factory.mktemp("empty")) as api:
            yield Empty(bucket, api)


def test_the_history_has_each_change_with_its_reason_and_figures(lived_in: LivedIn) -> None:
    told = lived_in.get("/history").json()["promotions"]
    assert told == [event.model_dump(mode="json") for event in Registry(lived_in.bucket).history()]
    assert [(one["replaced"], one["release"], one["kind"]) for one in told] == [
        (None, lived_in.replaced.id, PROMOTE),
        (lived_in.replaced.id, lived_in.champion.id, PROMOTE),
    ]
    assert told[1]["reason"].startswith("better beyond chance on 292 wines: ")
    assert {"challenger", "champion", "low", "high"} <= told[1]["metrics"].keys()
    assert lived_in.get("/history?last=1").json() == {"promotions": told[1:]}


def test_the_last_run_s_decision_is_told_where_it_promoted_nothing(lived_in: LivedIn) -> None:
    told = lived_in.get("/decision").json()
    assert (told["run"], told["promote"]) == (RUN, False)
    assert (told["release"], told["champion"]) == (lived_in.challenger.id, lived_in.champion.id)
    assert told["reason"].endswith("the champion stays") or "; the champion stays" in told["reason"]
    assert told["metrics"]["champion"] == lived_in.get("/release").json()["metrics"]["test"]
    assert told["looks"] >= 2


def test_the_evaluation_is_that_of_the_served_file_on_the_held_out_rows(lived_in: LivedIn, data_csv: Path) -> None:
    told = lived_in.get("/release/evaluation").json()
    release = Registry(lived_in.bucket).load(lived_in.champion)
    _, test = dataset.split(dataset.read(data_csv), SplitRule(**release.provenance.split))
    labels, _ = release.model.predict(test[dataset.FEATURE_NAMES].to_numpy())
    counted = np.zeros((len(CLASSES), len(CLASSES)), int)
    for true, label in zip(test[TARGET], labels, strict=True):
        counted[CLASSES.index(true), CLASSES.index(label)] += 1
    assert told["confusion"] == counted.tolist()
    assert (told["release"], told["rows"], told["classes"]) == (lived_in.champion.id, 292, list(CLASSES))
    assert np.trace(counted) / 292 == pytest.approx(release.metrics.test["Accuracy"], abs=1e-6)
    assert release.profile
    assert [one["accuracy"] for one in told["calibration"]] == list(release.profile.calibration.accuracy)
    assert [one["confidence"] for one in told["calibration"]] == list(release.profile.calibration.confidence)


def test_the_search_is_told_with_each_trial_s_parameters_and_figures(lived_in: LivedIn) -> None:
    told = lived_in.get("/experiments").json()
    assert [one["task"] for one in told["trials"]] == ["LR_1", "LR_2", "LR_3", "LR_4"]
    assert told["metric"] == SEARCH_RULE.metric and told["searches"] == [told["search"]]
    for trial in told["trials"]:
        assert trial["scores"].keys() == {"cv", "train", "test"} and trial["parameters"]["C"] == 0.03
        assert (trial["error"], trial["link"]) == (None, None)
        assert np.array(trial["confusion"]).sum() == 292
    assert lived_in.get(f"/experiments?search={told['search']}").json() == told
    assert lived_in.get("/experiments?search=2000-01-01T00:00:00Z").status_code == 404


def test_the_days_are_told_in_short_and_the_alert_that_one_of_them_raised(lived_in: LivedIn) -> None:
    quiet, drifted = lived_in.get("/monitoring/days").json()["days"]
    assert (quiet["date"], quiet["rows"], quiet["drifted"]) == (str(QUIET), 250, [])
    assert quiet["performance"]["labelled"] == 250 and "Accuracy" in quiet["performance"]["measured"]
    assert (drifted["date"], drifted["drifted"], drifted["mix_drifted"]) == (
        str(DRIFTED),
        ["total sulfur dioxide"],
        False,
    )
    (alert,) = lived_in.get("/alerts").json()["alerts"]
    assert alert["kind"] == "drift" and "total sulfur dioxide drifted" in alert["what"]
    assert alert["command"] == f"python -m src.monitoring run --date {DRIFTED}" and alert["over"] is None


def test_the_last_hour_is_that_of_all_workers_whichever_answers(lived_in: LivedIn) -> None:
    def predictions() -> int:
        return sum(lived_in.get("/activity").json()["predictions"].values())

    before = predictions()
    for _ in range(20):
        httpx.post(f"{lived_in.url}/predict", json=EXAMPLE).raise_for_status()
        assert httpx.post(f"{lived_in.url}/predict", json={}).status_code == 422
    assert {predictions() - before for _ in range(10)} == {20}
    told = lived_in.get("/activity").json()
    (route,) = [one for one in told["routes"] if one["route"] == "/predict"]
    assert route["requests"] >= 40 and route["rejected"] >= 20 and route["failed"] == 0
    assert 0 < route["median_seconds"] <= route["p99_seconds"] < 10
    assert sum(minute["predictions"] for minute in told["minutes"]) == sum(told["predictions"].values())
    assert [one["release"] for one in told["workers"]] == [lived_in.champion.id] * 2
    processes = {process.pid for process in lived_in.api.processes()}
    assert {one["process"] for one in told["workers"]} < processes


def test_a_worker_that_replaced_another_tells_the_whole_hour(lived_in: LivedIn) -> None:
    before = lived_in.get("/activity").json()
    os.kill(before["workers"][0]["process"], 9)
    eventually(lambda: lived_in.get("/activity").json()["workers"][0]["process"] != before["workers"][0]["process"])
    eventually(lambda: all(one["release"] for one in lived_in.get("/activity").json()["workers"]))
    for _ in range(10):
        assert lived_in.get("/activity").json()["since"] == before["since"]


def test_where_the_bucket_holds_nothing_a_sentence_says_what_makes_it(empty: Empty) -> None:
    assert empty.get("/history").json() == {"promotions": []}
    assert empty.get("/alerts").json() == {"alerts": []}
    assert empty.get("/monitoring/days").json() == {"days": [], "unread": []}
    wanted = {
        "/decision": "start one with: make run",
        "/experiments": "make one with: python -m src.learn_models",
        "/monitoring": "measure yesterday with: python -m src.monitoring run",
    }
    for path, words in wanted.items():
        answer = empty.get(path)
        assert answer.status_code == 404 and words in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
    assert empty.get("/release/evaluation").status_code == 503
    activity = empty.get("/activity").json()
    assert activity["predictions"] == {} and activity["workers"][0]["release"] is None


@pytest.mark.parametrize(
    ("key", "path", "content"),
    [
        ("registry/promotions/2026-03-01T00:00:00.000000+00:00.json", "/history", b"{"),
        ("monitoring/decision.json", "/decision", b'{"format": 99}'),
        ("experiments/2026-03-01T00:00:00Z.jsonl", "/experiments", b"[]"),
        ("monitoring/alerts.json", "/alerts", b"x" * (2**20 + 1)),
    ],
)
def test_what_is_broken_newer_or_too_large_is_told_by_its_key(
    empty: Empty, key: str, path: str, content: bytes
) -> None:
    with empty.holding(**{key: content}):
        answer = empty.get(path)
    assert answer.status_code == 503 and key in answer.json()["detail"]


def test_a_day_that_cannot_be_read_hides_no_other(empty: Empty) -> None:
    day = b'{"date": "2026-03-02", "rows": 0, "releases": {}, "release": null}'
    with empty.holding(**{"monitoring/2026-03-01.json": b"{", "monitoring/2026-03-02.json": day}):
        told = empty.get("/monitoring/days").json()
    assert [day["date"] for day in told["days"]] == ["2026-03-02"]
    assert len(told["unread"]) == 1 and "monitoring/2026-03-01.json" in told["unread"][0]


def test_without_the_store_each_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with running(tmp_path) as api:
        for path in READS:
            answer = httpx.get(api.url.replace("/liveness", path), timeout=10)
            assert answer.status_code == 503 and "the store does not answer" in answer.json()["detail"]


def test_reading_changes_nothing(lived_in: LivedIn) -> None:
    before = {key: lived_in.bucket.find_etag(key) for key in lived_in.bucket.list("") if "predictions/" not in key}
    for path in (*READS, "/release/evaluation", "/activity"):
        assert lived_in.get(path).is_success
    after = {key: lived_in.bucket.find_etag(key) for key in lived_in.bucket.list("") if "predictions/" not in key}
    assert after == before
