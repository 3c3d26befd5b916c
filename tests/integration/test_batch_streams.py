"""Streams of rows on a real ``python -m src.api``: constant memory, others are answered meanwhile, faults cut them."""

import contextlib
import io
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

from src.core import wine
from src.core.pointer import Pointer
from tests.integration.test_api_limits import running
from tests.support.documents import blocks
from tests.support.services import Service, eventually
from tests.support.tools import needs
from tests.support.wines import FIELDS, read_wines, to_arrow, to_csv, to_csv_lines

CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
ROWS = 1_000_000
MOST_MEMORY = 250_000_000
SECONDS = 2  # in which a stream must go on


@pytest.fixture(scope="module")
def api(shared_release: Pointer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the API with a release, and short deadlines."""
    with running(tmp_path_factory.mktemp("api"), API_REQUEST_SECONDS=str(SECONDS)) as api:
        eventually(lambda: httpx.get(api.url.replace("liveness", "readiness")).is_success)
        yield api


@pytest.fixture(scope="module")
def wines(data_csv: Path) -> np.ndarray:
    """Return a thousand wines of the table."""
    return read_wines(data_csv)


class Stream:
    """A request in chunks, whose answer is read while it is sent, as curl does and httpx does not."""

    def __init__(self, api: Service, form: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0), timeout=60)
        head = f"POST /predict/batch HTTP/1.1\r\nhost: x\r\ncontent-type: {form}\r\ntransfer-encoding: chunked\r\n\r\n"
        self.socket.sendall(head.encode())
        self.answer = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def send(self, part: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(part), part))

    def end(self) -> bytes:
        """Return the answer, to its end or to where it was cut."""
        try:
            self.socket.sendall(b"0\r\n\r\n")
        except ConnectionError:
            pass
        self._reader.join(60)
        self.socket.close()
        return bytes(self.answer)

    def _read(self) -> None:
        try:
            while not self.answer.endswith(b"\r\n0\r\n\r\n") and (part := self.socket.recv(2**20)):
                self.answer += part
        except OSError:
            pass


def parts_of(form: str, wines: np.ndarray, count: int) -> Iterator[bytes]:
    """Yield the parts of a body of ``count`` rows."""
    times = count // len(wines)
    if form == CSV:
        yield to_csv(wines)
        lines = to_csv_lines(wines)
        yield from (lines for _ in range(times - 1))
    else:
        one, two = to_arrow(wines), to_arrow(wines, repeat=2)
        batch, end = two[len(one) - 8 : -8], b"\xff\xff\xff\xff\x00\x00\x00\x00"
        yield one[:-8]
        yield from (batch for _ in range(times - 1))
        yield end


def memory(api: Service) -> int:
    return max(int(process.memory_info().rss) for process in api.processes())  # one packs the log now and then


@pytest.mark.parametrize("form", [CSV, ARROW])
def test_a_million_rows_take_no_memory_and_keep_nobody_waiting(api: Service, wines: np.ndarray, form: str) -> None:
    peak, answered = 0, 0
    stream = Stream(api, form)
    with httpx.Client() as client:
        for number, part in enumerate(parts_of(form, wines, ROWS)):
            stream.send(part)
            if number % 100 == 0:
                answered += client.get(api.url, timeout=5).is_success
                peak = max(peak, memory(api))
    answer = stream.end()
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"\r\n0\r\n\r\n")
    assert answered >= 10
    assert peak < MOST_MEMORY
    if form == CSV:
        assert answer.count(b",5\n") + answer.count(b",6\n") > ROWS / 2


@pytest.mark.parametrize("form", [CSV, ARROW])
def test_a_fault_in_the_middle_cuts_the_answer_after_the_rows_before_it(
    api: Service, wines: np.ndarray, form: str
) -> None:
    bad = wines.copy()
    bad[700, 8] = -1
    stream = Stream(api, form)
    for part in list(parts_of(form, wines, 10_000))[: 10 if form == CSV else -1]:
        stream.send(part)
    stream.send(to_csv_lines(bad) if form == CSV else to_arrow(bad)[len(to_arrow(bad[:0])) - 8 :])
    answer = stream.end()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert not answer.endswith(b"\r\n0\r\n\r\n"), "the client takes this for complete"
    if form == CSV:
        lines = [line for line in answer.split(b"\r\n\r\n", 1)[1].split(b"\n") if line.count(b",") == 6]
        assert len(lines) == 1 + 10_700
        assert b"error: line 10702: pH: -1, expected 1 to 7\n" in answer
    log = api.log.read_text()
    assert "a stream is cut after 10,700 rows: what follows is rejected" in log and "pH" not in log


def test_httpx_sees_a_cut_answer_as_a_failure(api: Service, wines: np.ndarray) -> None:
    bad = np.concatenate([wines, wines])
    bad[1500, 0] = -1
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.post(
            api.url.replace("liveness", "predict/batch"), content=to_csv(bad), headers={"content-type": CSV}, timeout=30
        )


def test_a_body_that_httpx_sends_whole_is_answered_whole(api: Service, wines: np.ndarray) -> None:
    url = api.url.replace("liveness", "predict/batch")
    answer = httpx.post(url, content=to_arrow(wines, 100), headers={"content-type": ARROW}, timeout=30)
    assert pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().num_rows == 1000


def test_a_stream_may_last_for_longer_than_a_request_and_may_not_stop(api: Service, wines: np.ndarray) -> None:
    stream = Stream(api, CSV)
    start = time.monotonic()
    stream.send(to_csv(wines[:100]))
    while time.monotonic() - start < 2.5 * SECONDS:
        stream.send(to_csv_lines(wines[:1]))
        time.sleep(0.2)  # the pace of a slow client
    answer = stream.end()
    assert answer.endswith(b"\r\n0\r\n\r\n")
    silent = Stream(api, CSV)
    silent.send(to_csv(wines[:100]))
    silent._reader.join(5 * SECONDS)
    assert not silent._reader.is_alive()
    assert silent.end().startswith(b"HTTP/1.1 200 OK")
    assert not bytes(silent.answer).endswith(b"\r\n0\r\n\r\n")


def test_the_frames_of_many_chunks_do_not_end_a_stream(api: Service, wines: np.ndarray) -> None:
    stream = Stream(api, CSV)
    stream.send(to_csv(wines[:1]))
    line = to_csv_lines(wines[:1])
    for _ in range(100):
        stream.socket.sendall(b"%08x\r\n%b\r\n" % (len(line), line) * 200)
    assert stream.end().endswith(b"\r\n0\r\n\r\n")


@needs("curl")
def test_the_commands_of_the_documentation_do_what_it_says(
    api: Service, wines: np.ndarray, data_csv: Path, tmp_path: Path
) -> None:
    batch, csv, arrow, explain, v2 = blocks("docs/api.md", "sh")
    (shown,) = map(json.loads, blocks("docs/api.md", "json"))
    (lines,) = blocks("docs/api.md", "text")
    write, _ = blocks("docs/api.md", "python")
    (tmp_path / "data").mkdir()
    shutil.copyfile(data_csv, tmp_path / "data" / wine.FILE)
    with contextlib.chdir(tmp_path):
        exec(write, {"table": pa.table(dict(zip(FIELDS, wines.T, strict=True)))})

    def run(commands: str) -> str:
        line = ["bash", "-ec", commands.replace("127.0.0.1:8000", api.url.split("/")[2])]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert {**json.loads(run(batch)), "id": shown["id"]} == shown
    assert run(csv).startswith(lines.removesuffix("…\n"))
    run(arrow)
    with pa.OSFile(str(tmp_path / "predictions.arrow")) as file:
        assert pa.ipc.open_stream(file).read_all().num_rows == len(wines)
    assert json.loads(run(explain))["method"] == "linear"
    assert '"id":"42"' in run(v2)
