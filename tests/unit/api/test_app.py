"""The API's answers, by a client in the same process, from a release in a real bucket."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from src.api.app import app
from src.config import PROJECT
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.storage.bucket import Bucket
from tests.conftest import committed_data
from tests.support.services import eventually
from tests.unit.api.conftest import api, limits

JSON = {"content-type": "application/json"}


@pytest.fixture
def client(bucket: Bucket, tmp_path: Path) -> Iterator[TestClient]:
    """Run the API on an empty bucket."""
    with api(tmp_path) as client:
        yield client


@pytest.mark.parametrize(("path", "field"), [("/release", "detail"), ("/v2/models/wine", "error")])
def test_a_fault_of_the_service_itself_is_a_500_that_names_the_request(
    client: TestClient, path: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state.champion, "live", "what no code expects")
    answer = client.get(path, headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json()[field] == "the service failed to answer; its log says why"


def test_before_the_first_promotion_it_says_why_it_cannot_predict(client: TestClient) -> None:
    eventually(lambda: client.get("/healthcheck").json()["store"]["reachable"])
    for method, path in (("GET", "/readiness"), ("GET", "/release"), ("POST", "/predict")):
        answer = client.request(method, path, json=EXAMPLE)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "no champion was promoted" in answer.json()["detail"]
    assert client.get("/liveness").status_code == 200
    health = client.get("/healthcheck")
    assert health.status_code == 503
    assert health.json()["status"] == "down"


def test_a_disk_that_takes_nothing_does_not_keep_it_from_serving(shared_release: Pointer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with api(tmp_path / "file" / "cache") as client:
        health = eventually(lambda: health if (health := client.get("/healthcheck").json())["cache_error"] else None)
        assert health["status"] == "degraded"
        assert client.post("/predict", json=EXAMPLE).json()["release"] == shared_release.id
        (tmp_path / "file").unlink()
        eventually(lambda: client.get("/healthcheck").json()["status"] == "ok")
        assert (tmp_path / "file" / "cache" / "registry" / "current.dvc").exists()


@pytest.mark.parametrize("path", ["/predict", "/predict/"])
def test_a_prediction_names_its_release(ready: TestClient, shared_release: Pointer, path: str) -> None:
    answer = ready.post(path, json=EXAMPLE).json()
    assert answer["predicted_quality"] == 5
    assert list(answer["probabilities"]) == ["3", "4", "5", "6", "7", "8"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert max(answer["probabilities"], key=answer["probabilities"].get) == "5"
    assert answer["release"] == shared_release.id
    assert answer["warnings"] == []


def test_what_training_never_saw_is_answered_with_a_warning(ready: TestClient) -> None:
    answer = ready.post("/predict", json=EXAMPLE | {"alcohol": 20, "pH": 1.5}).json()
    assert answer["warnings"] == [
        "pH 1.5 is outside the range that training saw, 2.74 to 3.9",
        "alcohol 20 is outside the range that training saw, 8.4 to 14.9",
    ]


def test_a_warning_shows_as_many_digits_as_it_needs(ready: TestClient) -> None:
    answer = ready.post("/predict", json=EXAMPLE | {"density": 1.003693}).json()
    assert answer["warnings"] == ["density 1.003693 is outside the range that training saw, 0.99007 to 1.00369"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("pH", None, "valid number"),
        ("pH", "3.2", "valid number"),
        ("pH", True, "valid number"),
        ("pH", [3.2], "valid number"),
        ("pH", float("nan"), "finite"),
        ("pH", float("inf"), "less than or equal|finite"),
        ("pH", 1e300, "less than or equal"),
        ("pH", 0.9, "greater than or equal to 1"),
        ("alcohol", 25.1, "less than or equal to 25"),
        ("colour", 1, "not permitted"),
        ("pH", "\ud800", "valid number"),
    ],
)
def test_bad_input_is_rejected_by_name(ready: TestClient, field: str, value: Any, words: str) -> None:
    body = json.dumps(EXAMPLE | {field: value})
    answer = ready.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["field"] == field
    assert any(word in fault["message"] for word in words.split("|"))


def test_a_name_that_utf_8_cannot_spell_is_rejected(ready: TestClient) -> None:
    body = json.dumps(EXAMPLE | {"\ud800": 1})
    answer = ready.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 422


@pytest.mark.parametrize("size", [65_537, 10_000_000])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_body_that_is_too_large_is_rejected(ready: TestClient, size: int, in_chunks: bool) -> None:
    body = json.dumps(EXAMPLE).ljust(size).encode()
    content = iter([body[:1000], body[1000:]]) if in_chunks else body
    answer = ready.post("/predict", content=content, headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "the body is larger than 65,536 bytes"


def test_a_body_of_the_largest_size_is_answered(ready: TestClient) -> None:
    body = json.dumps(EXAMPLE).ljust(65_536)
    answer = ready.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 200


def test_a_path_may_have_a_limit_of_its_own(ready: TestClient) -> None:
    body = json.dumps(EXAMPLE).ljust(301)
    with limits(bytes_of={"/predict": 300}):
        answers = [ready.post(path, content=body, headers=JSON).status_code for path in ("/predict", "/predict/")]
    assert answers == [413, 200]


def test_ten_faults_are_told_and_the_others_counted(ready: TestClient) -> None:
    names = [f"colour_{number}" for number in range(200)]
    answer = ready.post("/predict", json=EXAMPLE | {"pH": -1} | dict.fromkeys(names, 1)).json()
    assert [fault["field"] for fault in answer["errors"]] == ["pH", *names[:9]]
    assert answer["detail"].endswith("; colour_8: Extra inputs are not permitted; … and 191 more")


def test_a_long_name_is_cut(ready: TestClient) -> None:
    answer = ready.post("/predict", json=EXAMPLE | {"x" * 10_000: "y" * 10_000})
    assert answer.status_code == 422
    assert len(answer.content) < 1000


def test_many_unknown_keys_are_rejected_as_fast_as_they_are_parsed(ready: TestClient) -> None:
    body = json.dumps(EXAMPLE | {f"colour_{number}": None for number in range(200_000)})
    start = time.perf_counter()
    json.loads(body)
    parsed = time.perf_counter() - start
    with limits(bytes=len(body)):
        start = time.perf_counter()
        answer = ready.post("/predict", content=body, headers=JSON)
        assert time.perf_counter() - start < 5 * parsed + 0.1
    assert answer.status_code == 422
    assert len(answer.content) < 2000


@pytest.mark.parametrize("field", EXAMPLE)
def test_a_missing_field_is_rejected_by_name(ready: TestClient, field: str) -> None:
    answer = ready.post("/predict", json={name: value for name, value in EXAMPLE.items() if name != field})
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"{field}: Field required"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"null", b"\xff"])
def test_a_body_that_is_no_object_is_rejected(ready: TestClient, body: bytes) -> None:
    answer = ready.post("/predict", content=body, headers=JSON)
    assert answer.status_code == 422 if body != b"\xff" else answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert all(fault["field"] == "body" for fault in answer.json()["errors"])


def test_a_form_is_told_to_be_json(ready: TestClient) -> None:
    answer = ready.post("/predict", data={"pH": "3"})
    assert answer.status_code == 422
    assert "content-type: application/json" in answer.json()["detail"]


def test_the_version_stands_in_the_documentation_in_release_and_first_in_the_changelog(ready: TestClient) -> None:
    newest = re.findall(r"^## \[(\d.*?)\]", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert ready.get("/openapi.json").json()["info"]["version"] == ready.get("/release").json()["version"] == newest


def test_release_shows_what_is_serving(ready: TestClient, shared_release: Pointer) -> None:
    shown = ready.get("/release").json()
    assert shown["id"] == shared_release.id
    assert shown["pointer"]["md5"] == shared_release.md5
    assert shown["data"]["md5"] == committed_data().md5
    assert set(shown["metrics"]["test"]) == {"Accuracy", "F1_score", "ROC_AUC"}
    assert shown["meta"]["run_id"] == "test"
    assert shown["meta"]["promotion"]["release"] == shared_release.id
    features = {feature.pop("field"): feature for feature in shown["features"]}
    assert list(features) == list(EXAMPLE)
    assert features["alcohol"] == {
        "name": "alcohol",
        "label": "alcohol (% vol)",
        "unit": "% vol",
        "lowest": 0,
        "highest": 25,
        "minimum": 8.4,
        "median": 10.2,
        "maximum": 14.9,
    }


def test_metrics_count_predictions_by_release(ready: TestClient, shared_release: Pointer) -> None:
    def count() -> float:
        lines = ready.get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("wine_predictions_total{"))

    before = count()
    ready.post("/predict", json=EXAMPLE)
    assert count() == before + 1
    text = ready.get("/metrics").text
    assert f'wine_release_info{{release="{shared_release.id}"}} 1.0' in text
    assert "wine_store_reachable 1.0" in text


def test_metrics_count_requests_rows_and_unusual_inputs(ready: TestClient, shared_release: Pointer) -> None:
    def figures() -> dict[str, float]:
        lines = [line.rpartition(" ") for line in ready.get("/metrics").text.splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in lines}

    before = figures()
    ready.post("/predict", json=EXAMPLE | {"alcohol": 20, "pH": 1.5})
    ready.post("/predict", json=EXAMPLE | {"pH": 1.5})
    ready.post("/predict", json={})
    live, rows = app.state.champion.live, np.array([[*EXAMPLE.values()]] * 3, np.float32)
    rows[1:, 0] = 0.5, 99
    app.state.telemetry.count(live, np.array([5, 5, 8]), rows)
    after = figures()
    raised = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("wine_")}
    assert raised['wine_requests_total{route="/predict",status="200"}'] == 2
    assert raised['wine_requests_total{route="/predict",status="422"}'] == 1
    assert raised['wine_requests_total{route="/metrics",status="200"}'] == 1
    assert raised['wine_request_seconds_count{route="/predict"}'] == 3
    assert raised['wine_request_seconds_bucket{le="+Inf",route="/predict"}'] == 3
    assert 0 < raised['wine_request_seconds_sum{route="/predict"}'] < 3
    assert raised[f'wine_predictions_total{{class="8",release="{shared_release.id}"}}'] >= 1
    assert sum(value for name, value in raised.items() if name.startswith("wine_predictions_total")) == 5
    inputs = {name: value for name, value in raised.items() if name.startswith("wine_unusual_inputs_total") and value}
    expected = {"alcohol": 1, "pH": 2, "fixed_acidity": 2}
    assert inputs == {f'wine_unusual_inputs_total{{feature="{name}"}}': value for name, value in expected.items()}
    assert after["wine_champion_promoted_timestamp_seconds"] + after["wine_champion_age_seconds"] == pytest.approx(
        time.time(), abs=60
    )
    assert after["wine_releases_rejected_total"] == 0
    assert after['process_resident_memory_bytes{worker="0"}'] > 10_000_000


def test_an_unknown_path_is_a_problem_too(ready: TestClient) -> None:
    answer = ready.get("/nothing")
    assert answer.status_code == 404
    assert answer.json()["title"] == "Not Found"


def test_the_documentation_names_features_and_problems(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert list(schemas["Wine"]["properties"]) == list(EXAMPLE)
    assert "HTTPValidationError" not in schemas
