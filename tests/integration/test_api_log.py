"""Whatever the API answers is in the bucket once, whatever happens to the process, its disk and the store."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from src.config import PROJECT
from src.core.pointer import Pointer
from src.core.prediction_record import FIELDS, Prediction, find_time
from src.core.wine import EXAMPLE, TARGET
from src.registry import Registry
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults, read_day, read_labels
from tests.conftest import new_bucket
from tests.integration.test_api_limits import running
from tests.support.asking import asking
from tests.support.documents import blocks
from tests.support.peers import install
from tests.support.services import Service, eventually, fill_disk, free_port, small_disk

JSON = {"content-type": "application/json"}
ARROW = "application/vnd.apache.arrow.stream"
FROZEN = "frozen"
LATEST = 2.0  # seconds after which an answer is on disk: one, and the delays of a busy machine


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[tuple[Service, httpx.Client]]:
    """Run the API until it is ready."""
    with running(folder, API_DRAIN_SECONDS="0", **settings) as api:
        with httpx.Client(base_url=api.url.removesuffix("/liveness"), timeout=10) as client:
            eventually(lambda: client.get("/readiness").is_success)
            yield api, client


@pytest.fixture
def promoted(bucket: Bucket, trained: list[Pointer]) -> str:
    """Promote a release; return its id."""
    Registry(bucket).promote(trained[0], "first", "test", {})
    return trained[0].id


def read(bucket: Bucket) -> list[Prediction]:
    """Return all that the bucket holds of today and yesterday; none of it may be broken."""
    faults, today = Faults(), datetime.now(UTC).date()
    found = [one for day in (today - timedelta(days=1), today) for one in read_day(bucket, day, faults)]
    assert faults == Faults()
    return found


def ask_in_every_form(client: httpx.Client) -> dict[str, dict[str, float]]:
    """Return the values that were sent, by the ids that were told."""
    first, second = EXAMPLE, EXAMPLE | {"alcohol": 11.3, "pH": 3.05}
    sent: dict[str, dict[str, float]] = {}
    plain = client.post("/predict", json=first, headers={"x-request-id": 'a"b\\c'})
    pretty = client.post("/predict", content=json.dumps(second, indent=2), headers=JSON)
    twice = client.post("/predict", content=json.dumps(first).replace("}", ', "pH": 3.05}'), headers=JSON)
    by_app = client.post(
        "/predict", content=json.dumps(second).encode("utf-16"), headers=JSON | {"connection": "close"}
    )
    for answer, row in ((plain, first), (pretty, second), (twice, first | {"pH": 3.05}), (by_app, second)):
        sent[answer.raise_for_status().json()["id"]] = row
    rows = [first, second]
    csv = "\n".join([",".join(FIELDS), *(",".join(str(row[field]) for field in FIELDS) for row in rows)])
    flat = [row[field] for row in rows for field in FIELDS]
    infer = {"inputs": [{"name": "features", "datatype": "FP64", "shape": [2, len(FIELDS)], "data": flat}]}
    table, stream = pa.table({field: [float(row[field]) for row in rows] for field in FIELDS}), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    batch = client.post("/predict/batch", json=rows)
    assert batch.json()["id"] == batch.headers["x-prediction-id"]
    for answer in (
        batch,
        client.post("/predict/batch", content=csv, headers={"content-type": "text/csv"}),
        client.post("/predict/batch", content=stream.getvalue(), headers={"content-type": ARROW}),
        client.post("/v2/models/wine/infer", json=infer),
        client.post("/v2/models/wine/infer", json=infer | {"parameters": {"binary_data_output": True}}),
    ):
        sent |= {f"{answer.raise_for_status().headers['x-prediction-id']}-{n}": row for n, row in enumerate(rows)}
    return sent


def test_each_wine_of_each_route_is_logged_as_it_was_sent_and_answered(
    bucket: Bucket, promoted: str, tmp_path: Path
) -> None:
    with serving(tmp_path) as (_, client):
        sent = ask_in_every_form(client)
        expected = client.post("/predict", json=EXAMPLE).json()
    found = {one.id: one for one in read(bucket)}
    assert found.keys() == sent.keys() | {expected["id"]}
    for identifier, row in sent.items():
        one = found[identifier]
        assert one.values == {name: float(value) for name, value in row.items()}
        assert one.release == promoted
        assert datetime.fromisoformat(one.time) == find_time(identifier)
        assert one.probabilities[str(one.predicted)] == max(one.probabilities.values())
    last = found[expected["id"]]
    assert (last.predicted, last.probabilities) == (expected[f"predicted_{TARGET}"], expected["probabilities"])
    assert Counter(one.route for one in found.values()) == {
        "/predict": 5,
        "/predict/batch": 6,
        "/v2/models/{model_name}/infer": 4,
    }
    assert 'a"b\\c' in {one.request_id for one in found.values()}
    frames = [
        pd.read_json(io.BytesIO(bucket.get(key)), lines=True, compression="gzip") for key in bucket.list("predictions/")
    ]
    assert set(pd.concat(frames)["id"]) == found.keys()
    assert set(pd.json_normalize(pd.concat(frames)["values"].tolist()).columns) == set(FIELDS)
    assert not [path for path in (tmp_path / "cache/predictions").iterdir() if path.suffix == ".jsonl"]
    assert read_with_duckdb(bucket, tmp_path) == found.keys()


def read_with_duckdb(bucket: Bucket, folder: Path) -> set[str]:
    """Return the ids that the documented line of DuckDB reads, from a copy of the log in place of S3."""
    for key in bucket.list("predictions/"):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(bucket.get(key))
    (query,) = blocks("docs/predictions.md", "sql")
    python = install("duckdb==2.0.1") / "python"
    code = "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.argv[1]).project('id').fetchall()))"
    line = [str(python), "-c", code, query.replace("s3://wine-quality/", f"{folder}/")]
    rows = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    assert len(rows) == len({row[0] for row in rows})
    return {row[0] for row in rows}


def command(folder: Path, name: str) -> tuple[list[str], str, Path, dict[str, str]]:
    """Return what a service takes: an API on the folder that others use too."""
    port = free_port()
    env = os.environ | {"API_CACHE": str(folder / "cache"), "PYTHONPATH": str(PROJECT)}
    line = [sys.executable, "-m", "src.api", "--port", str(port)]
    return line, f"http://127.0.0.1:{port}/liveness", folder / f"{name}.log", env


def is_ready(client: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("/readiness").is_success
    return False


def test_after_sixty_kills_the_last_second_is_missing_at_most_and_nothing_is_there_twice(
    bucket: Bucket, promoted: str, tmp_path: Path
) -> None:
    answered: list[tuple[str, float]] = []  # ids, and the seconds from each answer to the kill
    for number in range(15):
        with ExitStack() as stack:
            apis = [Service(*command(tmp_path, f"{number}-{one}")) for one in range(4)]
            for api in apis:
                stack.callback(api.kill)
                api.begin()
            clients = [
                stack.enter_context(httpx.Client(base_url=api.url.removesuffix("/liveness"), timeout=30))
                for api in apis
            ]
            for client in clients:
                eventually(lambda client=client: is_ready(client))  # type: ignore[misc]
            ids: list[tuple[str, float]] = []
            while not ids or time.monotonic() < ids[0][1] + 0.3 * (number % 10):
                for client in clients:
                    ids.append((client.post("/predict", json=EXAMPLE).json()["id"], time.monotonic()))
                    answer = client.post("/predict/batch", json=[EXAMPLE])
                    ids.append((f"{answer.headers['x-prediction-id']}-0", time.monotonic()))
            for api in apis:
                api.send(signal.SIGKILL)
            killed = time.monotonic()
            answered += [(one, killed - moment) for one, moment in ids]
    with serving(tmp_path):
        eventually(lambda: not [*(tmp_path / "cache/predictions").glob("*.jsonl")])
    found = [one.id for one in read(bucket)]
    assert len(found) == len(set(found))
    missing = [seconds for one, seconds in answered if one not in set(found)]
    print(f"{len(answered)} answers, {len(missing)} of them missing, the oldest {max(missing, default=0):.2f} s old")
    assert max(missing, default=0) < LATEST
    assert len([one for one, seconds in answered if seconds >= LATEST]) > 20  # which might have been missing
    assert len(found) > len(answered) / 4
    assert set(found) <= {one for one, _ in answered}


def test_a_line_that_was_cut_short_is_left_out_when_another_worker_takes_over(
    bucket: Bucket, promoted: str, tmp_path: Path
) -> None:
    spool = tmp_path / "cache/predictions"
    with serving(tmp_path) as (api, client):
        ids = [client.post("/predict", json=EXAMPLE).json()["id"] for _ in range(3)]
        (path,) = eventually(lambda: [*spool.glob("*.jsonl")])
        eventually(lambda: path.read_bytes().count(b"\n") == 3)
        api.kill()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 40)
    with serving(tmp_path):
        eventually(lambda: not path.exists() and not [*spool.glob("*.jsonl")])
    assert [one.id for one in read(bucket)] == ids[:2]


def health(client: httpx.Client) -> dict[str, Any]:
    told: dict[str, Any] = client.get("/healthcheck").json()["predictions"]
    return told


def dropped(client: httpx.Client, reason: str) -> float:
    text = client.get("/metrics").text
    (line,) = [one for one in text.splitlines() if one.startswith(f'wine_predictions_dropped_total{{reason="{reason}"')]
    return float(line.rpartition(" ")[2])


def test_a_full_disk_fails_no_request_and_what_is_missing_is_told(
    bucket: Bucket, promoted: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 8), serving(disk) as (api, client):
        kept = client.post("/predict", json=EXAMPLE).json()["id"]
        eventually(lambda: [*(disk / "cache/predictions").glob("*.jsonl")])
        filling = fill_disk(disk)
        with asking(httpx.URL(api.url).port or 0, [EXAMPLE], 8) as asked:
            asked.wait(500)
            eventually(lambda: dropped(client, "disk") > 100)
            told = health(client)
            assert "No space left" in told["error"] or "disk is full" in told["error"]
            assert told["dropped"] >= 100
            assert client.get("/healthcheck").json()["status"] == "degraded"
        assert not [one for _, one, _ in asked.answers if isinstance(one, Exception)]
        filling.unlink()
        later = client.post("/predict", json=EXAMPLE).json()["id"]
        eventually(lambda: health(client)["error"] is None)
        api.stop()
        assert {kept, later} <= {one.id for one in read(bucket)}


@pytest.mark.parametrize("how", [FROZEN, "unreachable"])
def test_a_store_that_does_not_answer_fails_no_request_and_bounds_the_spool(
    own_store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    (first, *_), objects = training
    bucket = new_bucket(own_store, monkeypatch)
    for key, content in objects.items():
        bucket.put(key, content)
    Registry(bucket).promote(first, "first", "test", {})
    spool = tmp_path / "cache/predictions"
    with serving(tmp_path, PREDICTION_LOG_MAX_MB="1") as (api, client):
        if how == FROZEN:
            own_store.send(signal.SIGSTOP)
        else:
            own_store.stop()
        try:
            with asking(httpx.URL(api.url).port or 0, [EXAMPLE], 8) as asked:
                eventually(lambda: dropped(client, "limit") > 100)
                assert sum(path.stat().st_size for path in spool.glob("*.jsonl")) <= 2**20
                assert health(client)["pending_bytes"] > 100_000
                assert health(client)["dropped"] > 100
        finally:
            if how == FROZEN:
                own_store.send(signal.SIGCONT)
            else:
                own_store.start()
        assert not [one for _, one, _ in asked.answers if isinstance(one, Exception)]
        api.stop()
    with serving(tmp_path) as (_, client):
        eventually(lambda: not [*spool.glob("*.jsonl")])
        assert health(client)["seconds_since_last_sent"] < 60
    found = [one.id for one in read(bucket)]
    assert len(found) == len(set(found)) > 1000


def test_where_it_may_not_write_it_says_so(bucket: Bucket, promoted: str, tmp_path: Path) -> None:
    spool = tmp_path / "cache/predictions"
    with serving(tmp_path) as (api, client):
        identifier = client.post("/predict", json=EXAMPLE).json()["id"]
        eventually(lambda: [*spool.glob("*.jsonl")])
        api.kill()
    with running(tmp_path, AWS_SECRET_ACCESS_KEY="another-secret") as api:
        with httpx.Client(base_url=api.url.removesuffix("/liveness"), timeout=10) as client:
            error = eventually(lambda: health(client)["error"])
            assert "403" in error or "privileges" in error or "denied" in error
            assert client.post("/predict", json=EXAMPLE).is_success
    with serving(tmp_path):
        eventually(lambda: not [*spool.glob("*.jsonl")])
    assert identifier in {one.id for one in read(bucket)}


def test_a_share_of_the_requests_is_logged(bucket: Bucket, promoted: str, tmp_path: Path) -> None:
    with serving(tmp_path, PREDICTION_LOG_SHARE="0.5") as (_, client):
        ids = {client.post("/predict", json=EXAMPLE).json()["id"] for _ in range(400)}
        batches = [client.post("/predict/batch", json=[EXAMPLE] * 3).json()["id"] for _ in range(40)]
    found = {one.id for one in read(bucket)}
    assert 120 < len(found & ids) < 280
    rows = Counter(one.partition("-")[0] for one in found - ids)
    assert set(rows) <= set(batches)
    assert set(rows.values()) == {3}
    assert 5 < len(rows) < 35
    with serving(tmp_path, PREDICTION_LOG_SHARE="0") as (_, client):
        client.post("/predict", json=EXAMPLE).raise_for_status()
    assert len(read(bucket)) == len(found)


def test_workers_share_the_folder_and_streams_keep_their_order(bucket: Bucket, promoted: str, tmp_path: Path) -> None:
    def rows(number: int) -> Iterator[bytes]:
        yield ",".join(FIELDS).encode() + b"\n"
        for _ in range(number):
            yield ",".join(str(EXAMPLE[field]) for field in FIELDS).encode() + b"\n"

    ids = set()
    headers = {"content-type": "text/csv", "connection": "close"}  # so that either worker may take the next
    with serving(tmp_path, API_WORKERS="2") as (_, client):

        def send() -> httpx.Response:
            return client.post("/predict/batch", content=rows(100), headers=headers)

        for _ in range(20):
            answer = eventually(lambda: one if (one := send()).is_success else None)  # each worker loads the release
            ids |= {f"{answer.headers['x-prediction-id']}-{n}" for n in range(100)}
    found = [one.id for one in read(bucket)]
    assert len(found) == len(set(found))
    assert set(found) == ids


def test_labels_are_taken_once_and_what_is_not_is_named(bucket: Bucket, promoted: str, tmp_path: Path) -> None:
    with serving(tmp_path, API_KEYS="a-long-key", API_WORKERS="2") as (api, client):
        client.headers["x-api-key"] = "a-long-key"
        one = client.post("/predict", json=EXAMPLE).json()["id"]
        batch = client.post("/predict/batch", json=[EXAMPLE] * 2).json()["id"]
        unknown = "18eb2d7b760a723d1e6940df"

        def tell(*labels: tuple[str, int]) -> httpx.Response:
            return client.post("/labels", json=[{"id": key, TARGET: value} for key, value in labels])

        assert tell((one, 6), (f"{batch}-1", 5), (f"{batch}-2", 5), (unknown, 4)).json() == {
            "taken": [one, f"{batch}-1"],
            "unknown": [f"{batch}-2", unknown],
            "labelled_before": [],
            "labelled_otherwise": {},
        }
        again = tell((one, 6), (f"{batch}-1", 7), (f"{batch}-0", 7), (f"{batch}-0", 6)).json()
        assert again["taken"] == [f"{batch}-0"]
        assert again["labelled_before"] == [one]
        assert again["labelled_otherwise"] == {f"{batch}-1": 5, f"{batch}-0": 7}
        wrong = tell((one, 9), ("x", 6))
        assert wrong.status_code == 422
        assert wrong.headers["content-type"] == "application/problem+json"
        assert [fault["field"] for fault in wrong.json()["errors"]] == [f"0.{TARGET}", "1.id"]
        assert tell().status_code == 422
        assert tell(*[(unknown, 6)] * 1001).status_code == 422
        assert httpx.post(f"{client.base_url}/labels", json=[]).status_code == 401
    with serving(tmp_path) as (_, client):  # all was sent: now they are found in the bucket
        assert tell((one, 6), (f"{batch}-0", 5)).json()["labelled_otherwise"] == {f"{batch}-0": 7}
    found = {
        key: (one.label, one.by[:4]) for key, one in read_labels(bucket, find_time(batch).date(), Faults()).items()
    }
    assert found == {one: (6, "api:"), f"{batch}-1": (5, "api:"), f"{batch}-0": (7, "api:")}


def test_labels_without_a_store_are_a_problem(
    own_store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = new_bucket(own_store, monkeypatch)
    for key, content in training[1].items():
        bucket.put(key, content)
    Registry(bucket).promote(training[0][0], "first", "test", {})
    with serving(tmp_path) as (_, client):
        identifier = client.post("/predict", json=EXAMPLE).json()["id"]
        own_store.stop()
        answer = client.post("/labels", json=[{"id": identifier, TARGET: 6}], timeout=60)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_batch_that_is_larger_than_the_memory_for_it_is_dropped_in_part_and_counted(
    bucket: Bucket, promoted: str, tmp_path: Path
) -> None:
    values = np.tile(np.array([EXAMPLE[field] for field in FIELDS], np.float32), (300_000, 1))
    tensor: dict[str, Any] = {"name": "features", "datatype": "FP32", "shape": [*values.shape]}
    tensor["parameters"] = {"binary_data_size": values.nbytes}
    head = json.dumps(
        {"inputs": [tensor], "outputs": [{"name": "label", "parameters": {"binary_data": True}}]}
    ).encode()
    headers = {"inference-header-content-length": str(len(head))}
    with serving(tmp_path, PREDICTION_LOG_MAX_MB="2") as (api, client):
        identifier = client.post("/predict", json=EXAMPLE).json()["id"]
        for _ in range(4):
            client.post(
                "/v2/models/wine/infer", content=head + values.tobytes(), headers=headers, timeout=60
            ).raise_for_status()
        assert dropped(client, "memory") > 100_000
        assert health(client)["dropped"] > 100_000
        eventually(lambda: dropped(client, "limit") > 0)
        (process,) = api.processes()
        assert process.memory_info().rss < 300_000_000
    with serving(tmp_path):  # what could not be sent in time is sent by the next start
        eventually(lambda: identifier in {one.id for one in read(bucket)})
