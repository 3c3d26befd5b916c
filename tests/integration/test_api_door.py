"""Who may ask, what each request is called, and what the log says of it: by clients of ``python -m src.api``."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.integration.test_api_limits import running
from tests.support.services import Service, eventually

KEYS = ("first-key-of-two", "second-key-of-two")
SITE = "https://cellar.example"


@pytest.fixture
def release(bucket: Bucket, trained: list[Pointer]) -> Pointer:
    """Promote a release."""
    Registry(bucket).promote(trained[0], "first", "test", {})
    return trained[0]


@pytest.fixture
def guarded(release: Pointer, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run the API with two keys and one site, and an access log that shows everything."""
    with running(tmp_path, API_KEYS=" , ".join(KEYS), API_CORS_ORIGINS=SITE, API_ACCESS_LOG="1") as api:
        with client_of(api) as client:
            eventually(lambda: client.get("/readiness").is_success)
            yield client


@pytest.fixture
def open_to_all(release: Pointer, tmp_path: Path) -> Iterator[httpx.Client]:
    """Run the API as it is without settings."""
    with running(tmp_path) as api, client_of(api) as client:
        eventually(lambda: client.get("/readiness").is_success)
        yield client


def client_of(api: Service) -> httpx.Client:
    return httpx.Client(base_url=api.url.removesuffix("/liveness"), timeout=10)


def log_lines(folder: Path) -> list[dict[str, Any]]:
    """Return every line of the API's log, each of which is JSON."""
    (log,) = folder.glob("*.log")
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_without_one_of_its_keys_only_probes_and_documents_are_answered(guarded: httpx.Client) -> None:
    probes = ("/liveness", "/readiness", "/healthcheck", "/v2/health/live", "/v2/health/ready")
    for path in (*probes, "/docs", "/openapi.json"):
        assert guarded.get(path).is_success
    wrong = ("", "third-key-of-two", ",".join(KEYS))
    headers_of_none = [
        {},
        *({"X-API-Key": key} for key in wrong),
        *({"Authorization": f"Bearer {key}"} for key in wrong[1:]),
    ]
    for method, path in (("POST", "/predict"), ("GET", "/release"), ("GET", "/metrics"), ("GET", "/v2/models/wine")):
        told_in = ("error", "application/json") if path.startswith("/v2") else ("detail", "application/problem+json")
        for headers in headers_of_none:
            answer = guarded.request(method, path, json=EXAMPLE, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == told_in[1]
            assert "X-API-Key" in answer.json()[told_in[0]]
        for key in KEYS:
            assert guarded.request(method, path, json=EXAMPLE, headers={"x-api-key": key}).is_success
            bearer = {"Authorization": f"Bearer {key}"}  # as Prometheus sends it
            assert guarded.request(method, path, json=EXAMPLE, headers=bearer).is_success


def test_a_page_of_a_listed_site_may_ask_and_no_other(guarded: httpx.Client, open_to_all: httpx.Client) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = {
        origin: client.options("/predict", headers={"Origin": origin, **asked}).headers.get(
            "access-control-allow-origin"
        )
        for client in (guarded,)
        for origin in (SITE, "https://elsewhere.example")
    }
    assert allowed == {SITE: SITE, "https://elsewhere.example": None}
    headers = {"Origin": SITE, "X-API-Key": KEYS[0]}
    assert guarded.post("/predict", json=EXAMPLE, headers=headers).headers["access-control-allow-origin"] == SITE
    closed = open_to_all.post("/predict", json=EXAMPLE, headers={"Origin": SITE})
    assert closed.is_success and "access-control-allow-origin" not in closed.headers


@pytest.mark.parametrize("path", ["/predict", "/predict/", "/release", "/nowhere"])
def test_every_answer_names_its_request_by_the_client_s_id_or_a_new_one(open_to_all: httpx.Client, path: str) -> None:
    def ask(**headers: str) -> str:
        return open_to_all.post(path, json=EXAMPLE, headers=headers).headers["x-request-id"]

    assert ask(**{"X-Request-ID": "mine/1"}) == "mine/1"
    made = {ask(), ask(), ask(**{"X-Request-ID": "x" * 129}), ask(**{"X-Request-ID": "two words"})}
    assert len(made) == 4
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", one) for one in made)


def test_the_log_has_a_time_and_the_request_in_each_line_and_no_feature(guarded: httpx.Client, tmp_path: Path) -> None:
    wine = EXAMPLE | {"alcohol": 13.371337}
    headers = {"X-API-Key": KEYS[0], "X-Request-ID": "mine-1"}
    assert guarded.post("/predict?alcohol=13.371337", json=wine, headers=headers).is_success
    assert guarded.post("/predict", json=wine | {"pH": 99}, headers=headers).status_code == 422
    lines = eventually(lambda: found if len(found := of_request(tmp_path, "mine-1")) == 2 else None)
    assert [line["status"] for line in lines] == [200, 422]
    assert {(line["event"], line["method"], line["route"]) for line in lines} == {("request", "POST", "/predict")}
    assert all(0 < line["ms"] < 10_000 for line in lines)
    everything = log_lines(tmp_path)
    assert all(datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0) for line in everything)
    assert any("restored" in line["event"] or "replaces" in line["event"] for line in everything)
    text = json.dumps(everything)
    assert "13.37" not in text and KEYS[0] not in text


def test_the_access_log_shows_the_share_that_is_asked_for(release: Pointer, tmp_path: Path) -> None:
    with running(tmp_path, API_ACCESS_LOG="0.5") as api, client_of(api) as client:
        eventually(lambda: client.get("/readiness").is_success)
        for number in range(200):
            client.post("/predict", json=EXAMPLE, headers={"X-Request-ID": f"mine-{number}"}).raise_for_status()
    shown = [line["request_id"] for line in log_lines(tmp_path) if line.get("route") == "/predict"]
    assert 60 < len(shown) < 140  # else, once in sixty million runs
    assert len({*shown}) == len(shown)


def of_request(folder: Path, request_id: str) -> list[dict[str, Any]]:
    return [line for line in log_lines(folder) if line.get("request_id") == request_id]


def test_unless_it_is_asked_for_no_request_is_logged(open_to_all: httpx.Client, tmp_path: Path) -> None:
    for _ in range(20):
        open_to_all.post("/predict", json=EXAMPLE)
        open_to_all.get("/release")
    assert not [line for line in log_lines(tmp_path) if line["event"] == "request"]
