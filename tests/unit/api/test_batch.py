"""Batches, by a ready in the same process, from a release in a real bucket."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from src.api.arrow_rows import ArrowReader
from src.api.csv_rows import CsvReader
from src.api.rows import RowError
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from tests.support.wines import FIELDS, read_wines, to_arrow, to_csv, to_json
from tests.unit.api.conftest import limits

BATCH = "/predict/batch"
CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def wines(data_csv: Path) -> np.ndarray:
    """Return a thousand wines of the table."""
    return read_wines(data_csv)


def send(ready: TestClient, body: bytes, form: str = "application/json") -> httpx2.Response:
    return ready.post(BATCH, content=body, headers={"content-type": form})


def rejection(answer: httpx2.Response, status: int = 422) -> str:
    """Return what a problem says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


def changed(wines: np.ndarray, row: int, field: str, value: float) -> np.ndarray:
    wines = wines.copy()
    wines[row, FIELDS.index(field)] = value
    return wines


def test_json_is_answered_row_by_row_by_one_release(
    ready: TestClient, shared_release: Pointer, wines: np.ndarray
) -> None:
    answer = send(ready, to_json(wines)).json()
    assert answer["release"] == shared_release.id
    assert answer["classes"] == [3, 4, 5, 6, 7, 8]
    assert len(answer["predicted_quality"]) == len(answer["probabilities"]) == 1000
    for row in (0, 500, 999):
        one = ready.post("/predict", json=dict(zip(FIELDS, wines[row].tolist(), strict=True))).json()
        assert answer["predicted_quality"][row] == one["predicted_quality"]
        assert answer["probabilities"][row] == pytest.approx(list(one["probabilities"].values()), abs=1e-6)


def test_what_training_never_saw_is_counted_by_feature(ready: TestClient, wines: np.ndarray) -> None:
    odd = changed(changed(changed(wines[:10], 3, "alcohol", 20), 4, "alcohol", 21), 9, "pH", 1)
    assert send(ready, to_json(odd)).json()["warnings"] == [
        "pH is outside the range that training saw, 2.74 to 3.9, in 1 row(s)",
        "alcohol is outside the range that training saw, 8.4 to 14.9, in 2 row(s)",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("pH", None), ("pH", "3.2"), ("pH", True), ("pH", float("nan")), ("pH", 1e300), ("pH", -0.1), ("colour", 1)],
)
def test_a_row_is_rejected_as_predict_rejects_it(ready: TestClient, field: str, value: Any) -> None:
    alone = ready.post(
        "/predict", content=json.dumps(EXAMPLE | {field: value}), headers={"content-type": "application/json"}
    )
    answer = send(ready, json.dumps([EXAMPLE, EXAMPLE | {field: value}, EXAMPLE]).encode())
    assert answer.status_code == alone.status_code == 422
    (fault,), (expected,) = answer.json()["errors"], alone.json()["errors"]
    assert fault == expected | {"field": f"1.{field}"}


def test_ten_faults_are_told(ready: TestClient) -> None:
    faults = send(ready, json.dumps([{}] * 50).encode()).json()["errors"]
    assert [fault["field"] for fault in faults] == [f"0.{field}" for field in FIELDS][:10]


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"{}", b"3", b"\xff", b"[3]", b"[" * 100_000])
def test_what_is_no_array_of_rows_is_rejected(ready: TestClient, body: bytes) -> None:
    assert rejection(send(ready, body))


@pytest.mark.parametrize("form", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_form_is_told_which_there_are(ready: TestClient, form: str) -> None:
    expected = "expected application/json or text/csv or application/vnd.apache.arrow.stream"
    assert expected in rejection(send(ready, b"x", form), 415)


def test_a_json_body_that_is_too_large_is_rejected(ready: TestClient, wines: np.ndarray) -> None:
    with limits(batch_bytes=5000):
        assert rejection(send(ready, to_json(wines)), 413) == "the body is larger than 5,000 bytes"


def read_csv(content: bytes) -> tuple[list[str], np.ndarray]:
    header, *lines = content.decode().splitlines()
    return header.split(","), np.array([[float(cell) for cell in line.split(",")] for line in lines])


@pytest.mark.parametrize("separator", [",", ";"])
def test_csv_is_answered_in_csv(ready: TestClient, shared_release: Pointer, wines: np.ndarray, separator: str) -> None:
    plain = send(ready, to_json(wines)).json()
    answer = send(ready, to_csv(wines, separator), "text/csv; charset=utf-8")
    assert answer.headers["content-type"].startswith(CSV)
    assert answer.headers["x-release"] == shared_release.id
    names, table = read_csv(answer.content)
    assert names == [*(f"probability_{label}" for label in range(3, 9)), "predicted_quality"]
    assert table[:, -1].tolist() == plain["predicted_quality"]
    assert table[:, :-1] == pytest.approx(np.array(plain["probabilities"]), abs=1e-6)
    assert answer.content.splitlines()[1].endswith(b",5")


def test_the_table_itself_is_answered_and_its_target_ignored(ready: TestClient, data_csv: Path) -> None:
    _, table = read_csv(send(ready, data_csv.read_bytes(), CSV).content)
    assert len(table) == 1599


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_arrow_is_answered_in_arrow(ready: TestClient, shared_release: Pointer, wines: np.ndarray, kind: str) -> None:
    plain = send(ready, to_json(wines)).json()
    answer = send(ready, to_arrow(wines, 300, kind), ARROW)
    assert (answer.headers["content-type"], answer.headers["x-release"]) == (ARROW, shared_release.id)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == [*(f"probability_{label}" for label in range(3, 9)), "predicted_quality"]
    assert table["predicted_quality"].to_pylist() == plain["predicted_quality"]
    assert table["probability_6"].to_pylist() == pytest.approx([row[3] for row in plain["probabilities"]])


def test_an_arrow_stream_without_rows_has_an_answer_without_rows(ready: TestClient, wines: np.ndarray) -> None:
    answer = send(ready, to_arrow(wines[:0]), ARROW)
    assert pa.ipc.open_stream(answer.content).read_all().num_rows == 0


@pytest.mark.parametrize("form", ["application/json", CSV, ARROW])
def test_every_row_is_counted(ready: TestClient, shared_release: Pointer, wines: np.ndarray, form: str) -> None:
    def count() -> float:
        lines = [line for line in ready.get("/metrics").text.splitlines() if f'release="{shared_release.id}"' in line]
        return sum(float(line.split()[1]) for line in lines if line.startswith("wine_predictions_total{"))

    before = count()
    body = {"application/json": to_json, CSV: to_csv, ARROW: to_arrow}[form](wines)
    assert send(ready, body, form).is_success
    assert count() == before + 1000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b"pH\n3\n", "line 1: column 'fixed_acidity' is missing"),
        (to_csv(np.zeros((0, 11))).replace(b"pH", b"colour"), "line 1: column 'colour' is unknown"),
        (to_csv(np.zeros((0, 11))).replace(b"pH", b"alcohol"), "'alcohol' is there twice"),
        (b"x" * 70_000, "line 1 is longer than 65,536 bytes"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",x\n"), "line 2: alcohol: 'x' is not a number"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",\n"), "line 2: alcohol: '' is not a number"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",1,1\n"), "line 2: 12 values, expected 11"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",-1\n"), "line 2: alcohol: -1, expected 0 to 25"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",nan\n"), "line 2: alcohol: nan, expected 0 to"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",1e999\n"), "line 2: alcohol: inf, expected 0 to"),
        (to_csv(np.ones((1, 11))).replace(b",1\n", b",1_0\n"), "line 2: alcohol: '1_0' is not a number"),
    ],
)
def test_csv_that_is_wrong_from_the_start_is_named_by_line_and_column(
    ready: TestClient, body: bytes, words: str
) -> None:
    assert words in rejection(send(ready, body, CSV))


def test_two_lines_whose_values_are_shifted_are_not_taken_for_rows() -> None:
    lines = to_csv(np.ones((3, 11))).splitlines(keepends=True)
    shifted = b"".join([lines[0], lines[1], lines[2].replace(b",1\n", b"\n"), b"1," + lines[3]])
    reader = CsvReader(10_000)
    values = []
    with pytest.raises(RowError, match="line 3: 10 values, expected 11"):
        for block in reader.read(shifted):
            values += block.tolist()
    assert values == [[1] * 11]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\n", b"\r\n"),
        (b"\n", b"\n\n"),
        (b",1,", b',"1",'),
        (b",1,", b", +1. ,"),
        (b",1,", b",001,"),
        (b"fixed acidity", b"\xef\xbb\xbffixed_acidity"),
        (b"pH", b'"pH"'),
    ],
)
def test_spellings_of_csv_that_json_does_not_know_are_read(old: bytes, new: bytes) -> None:
    body = to_csv(np.ones((3, 11))).replace(old, new).removesuffix(b"\n")
    reader = CsvReader(10_000)
    blocks = [*reader.read(body), *reader.end()]
    assert np.concatenate(blocks).tolist() == [[1.0] * 11] * 3


@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_wherever_a_body_is_cut_its_rows_are_the_same(wines: np.ndarray, size: int) -> None:
    wines = wines[:100]
    for reader, body in ((CsvReader(10**6), to_csv(wines)), (ArrowReader(10**6), to_arrow(wines, 30))):
        blocks = []
        for start in range(0, len(body), size):
            blocks += list(reader.read(body[start : start + size]))
        blocks += list(reader.end())
        assert np.concatenate(blocks) == pytest.approx(wines, rel=1e-6)


def test_what_follows_the_end_of_an_arrow_stream_is_neither_read_nor_kept(wines: np.ndarray) -> None:
    reader, body = ArrowReader(10**6), to_arrow(wines, 30)
    assert sum(map(len, reader.read(body))) == len(wines)
    tracemalloc.start()
    try:
        for _ in range(10):
            assert [*reader.read(bytes(2**20) + body)] == []
        assert [*reader.end()] == []
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()


def test_the_rows_before_a_fault_are_given() -> None:
    wines = np.ones((3000, 11))
    for reader, body in (
        (CsvReader(10**6), to_csv(changed(wines, 2500, "pH", -1))),
        (ArrowReader(10**6), to_arrow(changed(wines, 2500, "pH", -1), 1000)),
    ):
        given = 0
        with pytest.raises(RowError, match="^(line 2502|row 2500): pH: -1, expected 1 to 7$"):
            for block in reader.read(body):
                given += len(block)
        assert given == 2500


def spoil(body: bytes, place: int, value: bytes) -> bytes:
    return body[:place] + value + body[place + len(value) :]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "ends in the middle"),
        (b"x" * 100, "not an Arrow IPC stream"),
        (to_arrow(np.ones((9, 11)))[:-600], "ends in the middle"),
        (spoil(to_arrow(np.ones((9, 11))), 200, b"\xff" * 50), "broken"),
        (b"\xff\xff\xff\xff\xff\xff\x00\x00" + bytes(65_535), "not an Arrow IPC stream|broken"),
    ],
)
def test_arrow_that_is_broken_is_rejected(ready: TestClient, body: bytes, words: str) -> None:
    detail = rejection(send(ready, body, ARROW))
    assert any(word in detail for word in words.split("|")), detail


def test_an_arrow_batch_that_is_too_large_or_lacks_values_is_rejected(ready: TestClient, wines: np.ndarray) -> None:
    with limits(batch_bytes=5000):
        assert "a record batch has 44,000 bytes, expected 5,000 at most" in rejection(
            send(ready, to_arrow(wines), ARROW)
        )
    for column in (pa.array([1.0, None]), pa.array(["1", "2"]), pa.array([1, 2]).dictionary_encode()):
        out = io.BytesIO()
        table = pa.table({field: column for field in FIELDS})
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        assert "column 'fixed_acidity'" in rejection(send(ready, out.getvalue(), ARROW))


def test_the_documentation_shows_all_three_forms(ready: TestClient) -> None:
    openapi = ready.get("/openapi.json").json()
    content = openapi["paths"][BATCH]["post"]["requestBody"]["content"]
    assert list(content) == ["application/json", CSV, ARROW]
    assert content["application/json"]["schema"]["items"]["$ref"].endswith("/Wine")
    assert list(openapi["components"]["schemas"]["BatchPrediction"]["properties"])[3] == "predicted_quality"
