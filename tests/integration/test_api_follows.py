"""A real uvicorn on a real socket follows the champion through promotions, bad releases and outages."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.config import PROJECT
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket, content_key
from tests.conftest import new_bucket
from tests.support.services import Service, eventually, free_port


def uvicorn(folder: Path) -> Service:
    """Return the API on the bucket that the environment names."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "src.api.app:app", "--port", str(port)]
    env = os.environ | {"API_CACHE": str(folder / "cache"), "API_POLL_SECONDS": "0.1", "PYTHONPATH": str(PROJECT)}
    return Service(command, f"http://127.0.0.1:{port}/liveness", folder / "api.log", env)


@pytest.fixture
def api(trained: list[Pointer], tmp_path: Path) -> Iterator[Service]:
    """Run the API on the test's own bucket."""
    service = uvicorn(tmp_path)
    service.start()
    yield service
    service.stop()


def get(api: Service, path: str) -> httpx.Response:
    return httpx.get(api.url.replace("/liveness", path), timeout=5)


def predict(api: Service) -> dict[str, Any]:
    answer = httpx.post(api.url.replace("/liveness", "/predict"), json=EXAMPLE, timeout=5).raise_for_status()
    prediction: dict[str, Any] = answer.json()
    del prediction["id"]
    return prediction


def serves(api: Service, pointer: Pointer) -> bool:
    answer = get(api, "/readiness")
    return answer.is_success and answer.json()["release"] == pointer.id


def promote(bucket: Bucket, pointer: Pointer) -> None:
    Registry(bucket).promote(pointer, "better", "test", {})


def test_it_imports_neither_pandas_nor_scikit_learn_nor_dvc() -> None:
    code = "import sys, src.api.app; print([m for m in ('pandas', 'sklearn', 'dvc', 'airflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_promotion_drops_no_request_and_mixes_no_releases(
    bucket: Bucket, trained: list[Pointer], api: Service
) -> None:
    first, second, _ = trained
    promote(bucket, first)
    eventually(lambda: serves(api, first))
    answers: list[dict[str, Any]] = []
    stopped = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=5) as client:
            while not stopped.is_set():
                answer = client.post(api.url.replace("/liveness", "/predict"), json=EXAMPLE)
                answers.append(answer.json() | {"id": "", "status": answer.status_code})

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    promote(bucket, second)
    eventually(lambda: serves(api, second))
    before = len(answers)
    eventually(lambda: len(answers) > before + 50)
    stopped.set()
    for asker in askers:
        asker.join()
    assert {answer["status"] for answer in answers} == {200}
    assert len({json.dumps(answer, sort_keys=True) for answer in answers}) == 2
    assert {answer["release"] for answer in answers} == {first.id, second.id}


def test_a_roll_back_is_followed(bucket: Bucket, trained: list[Pointer], api: Service) -> None:
    for pointer in trained[:2]:
        promote(bucket, pointer)
        eventually(lambda pointer=pointer: serves(api, pointer))  # type: ignore[misc]
    (process,) = api.processes()
    tried = process.cpu_times().children_user
    Registry(bucket).rollback(None, "test")
    eventually(lambda: serves(api, trained[0]))
    assert get(api, "/release").json()["meta"]["promotion"]["kind"] == "rollback"
    assert process.cpu_times().children_user == tried > 0, "it is kept on disk, and was tried before"


def test_a_release_with_altered_bytes_is_rejected_and_the_old_one_serves(
    bucket: Bucket, trained: list[Pointer], api: Service
) -> None:
    promote(bucket, trained[0])
    eventually(lambda: serves(api, trained[0]))
    before = predict(api)
    entries = json.loads(bucket.get(content_key(trained[1].md5)))
    (key,) = [content_key(entry["md5"]) for entry in entries if entry["relpath"] == "model.onnx"]
    good = bucket.get(key)
    promoted = trained[1].to_yaml().encode()
    bucket.put(key, good[:-1] + b"x")
    bucket.put(CURRENT, promoted)
    rejected = eventually(lambda: get(api, "/healthcheck").json()["rejected"])
    assert rejected["release"] == trained[1].id
    assert f"{key} has md5" in rejected["reason"]
    assert get(api, "/healthcheck").json()["status"] == "degraded"
    assert get(api, "/healthcheck").status_code == 200
    assert "wine_release_rejected 1.0" in get(api, "/metrics").text
    assert "wine_releases_rejected_total 1.0" in get(api, "/metrics").text
    assert predict(api) == before
    assert api.log.read_text().count("is rejected") == 1
    bucket.put(key, good)
    eventually(lambda: serves(api, trained[1]))
    assert get(api, "/healthcheck").json()["rejected"] is None


@pytest.mark.parametrize("content", [b"", b"outs: []", b"\xff", b"outs: [{md5: ../../x, path: y}]"])
def test_a_broken_pointer_is_rejected(bucket: Bucket, trained: list[Pointer], api: Service, content: bytes) -> None:
    promote(bucket, trained[0])
    eventually(lambda: serves(api, trained[0]))
    good = bucket.get(CURRENT)
    bucket.put(CURRENT, content)
    assert eventually(lambda: get(api, "/healthcheck").json()["rejected"])["release"] is None
    assert predict(api)["release"] == trained[0].id
    bucket.put(CURRENT, good)
    eventually(lambda: get(api, "/healthcheck").json()["status"] == "ok")


def test_a_pointer_that_is_gone_is_told_and_the_old_release_serves(
    bucket: Bucket, trained: list[Pointer], api: Service
) -> None:
    promote(bucket, trained[0])
    eventually(lambda: serves(api, trained[0]))
    bucket.client.delete_object(Bucket=bucket.name, Key=CURRENT)
    health = eventually(lambda: health if (health := get(api, "/healthcheck").json())["store"]["error"] else None)
    assert health["store"]["error"] == "registry/current.dvc is gone from the bucket"
    assert predict(api)["release"] == trained[0].id


def test_it_outlives_the_store_and_starts_without_it(
    own_store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, second, _), objects = training
    bucket = new_bucket(own_store, monkeypatch)
    for key, content in objects.items():
        bucket.put(key, content)
    promote(bucket, first)
    api = uvicorn(tmp_path)
    api.start()
    try:
        eventually(lambda: serves(api, first))
        before = predict(api)
        own_store.stop()
        health = eventually(lambda: health if (health := get(api, "/healthcheck").json())["store"]["error"] else None)
        assert health["status"] == "degraded"
        assert predict(api) == before

        api.stop()
        api.start()
        assert eventually(lambda: serves(api, first))
        assert predict(api) == before
        assert "wine_store_reachable 0.0" in eventually(
            lambda: text if "wine_store_reachable" in (text := get(api, "/metrics").text) else None
        )

        own_store.start()
        eventually(lambda: get(api, "/healthcheck").json()["status"] == "ok")
        promote(bucket, second)
        eventually(lambda: serves(api, second))

        api.stop()
        own_store.stop()
        for path in (tmp_path / "cache" / "dvc").rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:-1] + b"x")
        api.start()
        eventually(lambda: "no release yet: the store" in get(api, "/readiness").text)
        assert get(api, "/readiness").status_code == 503
        assert "release on disk is rejected" in api.log.read_text()
    finally:
        api.stop()


def test_a_wrong_setting_stops_the_start_and_names_itself(bucket: Bucket, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", "src.api.app:app", "--port", str(free_port())]
    env = os.environ | {"API_POLL_SECONDS": "often", "API_CACHE": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    assert "API_POLL_SECONDS: input should be a valid number" in done.stderr


def test_a_store_that_takes_requests_and_never_answers_shows_within_ten_seconds(
    own_store: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_bucket(own_store, monkeypatch)
    api = uvicorn(tmp_path)
    try:
        api.start()
        eventually(lambda: get(api, "/healthcheck").json()["store"]["reachable"])
        with own_store.paused():
            eventually(lambda: not get(api, "/healthcheck").json()["store"]["reachable"], 10)
            assert "wine_store_reachable 0.0" in get(api, "/metrics").text
        eventually(lambda: get(api, "/healthcheck").json()["store"]["reachable"])
    finally:
        api.stop()
