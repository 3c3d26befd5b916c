"""Several workers serve one port as one service."""

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.integration.test_api_changes import ROWS, check, expect
from tests.integration.test_api_limits import running
from tests.support.asking import asking
from tests.support.services import Service, eventually


@pytest.fixture
def two(bucket: Bucket, trained: list[Pointer], tmp_path: Path) -> Iterator[Service]:
    """Run two workers that serve the first release."""
    Registry(bucket).promote(trained[0], "first", "test", {})
    with running(tmp_path, API_WORKERS="2") as api:
        eventually(lambda: seen(api) == {trained[0].id} and len(workers(api)) == 2)
        yield api


def ask(api: Service) -> dict[str, Any]:
    """Predict over a connection of its own, which any worker may take."""
    with closing(HTTPConnection("127.0.0.1", httpx.URL(api.url).port, timeout=5)) as connection:
        connection.request("POST", "/predict", json.dumps(EXAMPLE), {"content-type": "application/json"})
        answer: dict[str, Any] = {"release": None, "id": ""} | json.load(connection.getresponse())
        return answer


def seen(api: Service) -> set[str]:
    """Return the releases that answer, of all workers."""
    by_worker = {answer["id"][16:]: answer["release"] for answer in (ask(api) for _ in range(100))}
    return set(by_worker.values()) if len(by_worker) > 1 else set()


def workers(api: Service) -> list[psutil.Process]:
    return [one for one in api.processes() if "--worker" in " ".join(one.cmdline())]


def count(text: str, name: str) -> float:
    return sum(float(number) for number in re.findall(rf"^{name} (\S+)$", text, re.MULTILINE))


def metrics(api: Service) -> str:
    return httpx.get(api.url.replace("liveness", "metrics")).text


def test_each_follows_and_all_are_counted(bucket: Bucket, trained: list[Pointer], two: Service, tmp_path: Path) -> None:
    predicted, requests = r"wine_predictions_total\{.*?\}", r'wine_requests_total\{route="/predict",status="200"\}'
    before = [(count(text, predicted), count(text, requests)) for text in [metrics(two)]][0]
    ids = {ask(two)["id"] for _ in range(200)}
    assert len(ids) == 200
    assert len({one[16:] for one in ids}) == 2
    for _ in range(10):
        text = metrics(two)
        assert (count(text, predicted), count(text, requests)) == (before[0] + 200, before[1] + 200)
        assert len(re.findall("^process_resident_memory_bytes", text, re.MULTILINE)) == 2
    for release in (trained[1], trained[2], trained[0]):
        Registry(bucket).promote(release, "next", "test", {})
        eventually(lambda release=release: seen(two) == {release.id})  # type: ignore[misc]
    models = [path for path in (tmp_path / "cache").rglob("*.dir")]
    assert {path.name for path in models} == {pointer.md5[2:] for pointer in (trained[2], trained[0])}
    assert two.log.read_text().count("restored from disk") == 0


def test_one_that_is_killed_is_missed_by_its_own_clients_alone_and_replaced(two: Service) -> None:
    stopped = threading.Event()
    failed, answered = set(), set()

    def keep_asking() -> None:
        last = ""
        while not stopped.is_set():
            with httpx.Client(timeout=5) as client:
                try:
                    while not stopped.is_set():
                        answer = client.post(two.url.replace("liveness", "predict"), json=EXAMPLE).raise_for_status()
                        last = answer.json()["id"][16:]
                        answered.add(last)
                except httpx.TransportError:
                    failed.add(last)

    askers = [threading.Thread(target=keep_asking) for _ in range(8)]
    for asker in askers:
        asker.start()
    eventually(lambda: len(answered) == 2)
    victim = workers(two)[0]
    victim.kill()
    eventually(lambda: len(workers(two)) == 2 and victim not in workers(two))
    eventually(lambda: len(seen(two)) == 1)
    stopped.set()
    for asker in askers:
        asker.join()
    assert len(failed - {""}) == 1  # who was not answered yet knows no worker
    assert "another takes its place" in two.log.read_text()
    assert count(metrics(two), r"wine_predictions_total\{.*?\}") >= 100


def test_one_that_is_told_to_end_loses_nothing_and_is_replaced(
    two: Service, bucket: Bucket, trained: list[Pointer]
) -> None:
    with asking(httpx.URL(two.url).port or 0, ROWS, 8) as load:
        for old in workers(two):
            load.wait(100)
            old.send_signal(signal.SIGTERM)
            old.wait(30)
            eventually(lambda: len(workers(two)) == 2 and len(seen(two)) == 1)
        load.wait(100)
    assert check(load, expect(bucket, trained[:1])) == {trained[0].id}


def test_with_their_parent_all_end(two: Service) -> None:
    all_of_them = two.processes()
    (parent,) = (one for one in all_of_them if one not in workers(two))
    os.kill(parent.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(all_of_them, timeout=20)
    assert not alive


def test_the_parent_ends_with_its_workers(two: Service) -> None:
    (parent,) = (one for one in two.processes() if one not in workers(two))
    parent.send_signal(signal.SIGTERM)
    assert two.wait(20) in (0, -signal.SIGTERM)
    assert not workers(two)
    assert "Traceback" not in two.log.read_text()


def test_a_start_that_cannot_succeed_ends(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="may open 384 files"):
        with running(tmp_path, shell='ulimit -n 384; exec "$0" "$@"', API_WORKERS="2"):
            pass
