"""How many rows a second one core serves: ``python -m bench.batch``.

One worker of ``python -m src.api`` and a bare uvicorn, which receives the same body and sends as many bytes back, are
pinned to one core, the client to another: wrk for bodies of 1,000 rows, a socket for streams. Bodies are measured in
rounds, whose medians are shown, with onnxruntime alone as the last of each; streams once, with it before and after. It
has the same rows and the server's core, once the server has nothing left to do there.

What profiling found, in ms for 1,000 rows, of which onnxruntime takes 0.06: CSV takes 0.34, of which 0.10 is simdjson,
0.06 the writing of lines, and the rest passes over the bytes and HTTP; with arrow-rs to read and orjson to write it
would take 0.8. Arrow takes 0.17. A parser made anew for each block gave its memory back each time, which doubled CSV.
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.api import OURS
from bench.load import CLIENT_CORE, SERVER_CORE, keep_release, missing, running, server
from src.api.v2 import INPUT, MODEL
from src.config import PROJECT
from src.core.onnx_model import Model
from tests.support.services import Service, eventually
from tests.support.wines import FIELDS, read_wines, to_arrow, to_csv, to_csv_lines

BARE = ["-m", "uvicorn", "--factory", "bench.batch:bare_app", "--port", "PORT", "--no-access-log"]
ROWS = 1000  # of one body
ROUNDS, SECONDS = 3, 2
STREAMED = 10_000_000
MOST_MEMORY = 250  # MB
SCALE = 1.8  # of a second worker
PROBE = 0.05  # seconds in which a health probe is to be answered
STREAMS = {"CSV": ("text/csv", 0.5), "Arrow": ("application/vnd.apache.arrow.stream", 0.5)}


@dataclass(frozen=True)
class Case:
    """A body that wrk sends again and again."""

    name: str
    path: str
    body: bytes
    headers: dict[str, str]
    target: int  # rows a second


def main() -> int:
    """Measure and print; returns 1 where a target is missed."""
    if lacking := missing():
        print(f"make bench-batch: install {lacking}", file=sys.stderr)
        return 1
    wines = read_wines(PROJECT / "data" / "winequality-red.csv", ROWS)
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = Model(keep_release(folder / "cache"))
        ours = _serve(folder)
        bare = server(Path(sys.executable), BARE, folder, "/")
        with running(ours, bare):
            os.sched_setaffinity(0, {int(CLIENT_CORE)})
            print(f"{'':30s} {'rows/s':>12s} {'target':>12s} {'of onnxruntime':>15s} {'of bare uvicorn':>16s}")
            alone = partial(_measure_model, model, wines, ours)
            cases = _list_cases(wines)
            missed = [_show_case(case, ours, bare, folder, alone) for case in cases]
            missed += [
                _show_stream(name, form, target, ours, bare, wines, alone) for name, (form, target) in STREAMS.items()
            ]
            memory = max(process.memory_info().rss for process in ours.processes()) / 1e6
            print(f"memory of the worker after {len(STREAMS) * STREAMED:,} rows in streams: {memory:.0f} MB")
        missed.append(_show_workers(folder, cases[0]))
    return int(any(missed) or memory > MOST_MEMORY)


def _serve(folder: Path, workers: int = 1, cores: str = SERVER_CORE) -> Service:
    settings = {"API_WORKERS": str(workers), "PREDICTION_LOG_MAX_MB": "8192"}  # what is dropped would cost less
    return server(Path(sys.executable), OURS, folder, "/readiness", settings=settings, cores=cores)


def bare_app(answer: bytes = bytes(10**6)) -> ASGIApp:
    """Return an app that receives a body, and sends so many bytes back as the query says: for each part, or in all."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        size = int(scope["query_string"] or b"2")
        is_stream = scope["path"] == "/stream"
        started = False
        while True:
            message = await receive()
            more = bool(message.get("more_body"))
            if not started and (is_stream or not more):
                length = [] if is_stream else [(b"content-length", b"%d" % size)]
                await send({"type": "http.response.start", "status": 200, "headers": length})
                started = True
            if is_stream and more:
                part = answer[: len(message["body"]) * size // 1000]
                await send({"type": "http.response.body", "body": part, "more_body": True})
            if not more:
                part = b"" if is_stream else answer[:size]
                await send({"type": "http.response.body", "body": part})
                return

    return app


def _list_cases(wines: np.ndarray) -> list[Case]:
    infer = f"/v2/models/{MODEL}/infer"
    tensor = {"name": INPUT, "shape": list(wines.shape), "datatype": "FP32"}
    flat = orjson.dumps({"inputs": [tensor | {"data": wines.ravel().tolist()}]})
    data = wines.astype("<f4").tobytes()
    sizes = {"parameters": {"binary_data_size": len(data)}}
    head = orjson.dumps({"parameters": {"binary_data_output": True}, "inputs": [tensor | sizes]})
    length = {"inference-header-content-length": str(len(head))}
    table = orjson.dumps([dict(zip(FIELDS, wine, strict=True)) for wine in wines.tolist()])
    json = {"content-type": "application/json"}
    return [
        Case("V2 infer, flat JSON", infer, flat, json, 1_000_000),
        Case("V2 infer, binary tensors", infer, head + data, length, 5_000_000),
        Case("/predict/batch, JSON", "/predict/batch", table, json, 300_000),
    ]


def _show_case(case: Case, ours: Service, bare: Service, folder: Path, alone: Callable[[], float]) -> bool:
    address = ours.url.removesuffix("/readiness")
    answer = httpx.post(address + case.path, content=case.body, headers=case.headers)
    assert answer.is_success, answer.text
    rounds = [
        (
            ROWS * _run_wrk(address + case.path, case, folder),
            ROWS * _run_wrk(f"{bare.url}?{len(answer.content)}", case, folder),
            alone(),
        )
        for _ in range(ROUNDS)
    ]
    rows, limit, model = (statistics.median(column) for column in zip(*rounds, strict=True))
    return _show(case.name, rows, case.target, model, limit)


def _run_wrk(url: str, case: Case, folder: Path) -> float:
    """Return requests a second."""
    (folder / "body").write_bytes(case.body)
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in case.headers.items())
    read = f'local file = io.open("{folder}/body", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
    (folder / "post.lua").write_text(f'wrk.method = "POST"\n{read}{headers}')
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", "-c8", f"-d{SECONDS}", "-s", str(folder / "post.lua")]
    shown = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in shown and "Socket errors" not in shown, shown
    (requests,) = re.findall(r"Requests/sec:\s+([\d.]+)", shown)
    return float(requests)


def _show_stream(
    name: str, form: str, target: float, ours: Service, bare: Service, wines: np.ndarray, alone: Callable[[], float]
) -> bool:
    probes: list[float] = []
    before = alone()
    seconds, sent, taken = _stream(ours, "/predict/batch", form, wines, probes)
    model = (before + alone()) / 2
    limit, _, _ = _stream(bare, f"/stream?{taken * 1000 // sent}", form, wines, [])
    is_missed = _show(f"/predict/batch, {name} stream", STREAMED / seconds, target * model, model, STREAMED / limit)
    print(f"{'':10s}{len(probes)} health probes meanwhile, the slowest answered in {max(probes) * 1000:.0f} ms")
    return is_missed or max(probes) > PROBE


def _show(name: str, rows: float, target: float, model: float, limit: float) -> bool:
    print(f"{name:30s} {rows:12,.0f} {target:12,.0f} {rows / model:15.2f} {rows / limit:16.2f}", flush=True)
    return rows < target


def _stream(service: Service, path: str, form: str, wines: np.ndarray, probes: list[float]) -> tuple[float, int, int]:
    """Return the seconds that a stream of all rows takes, and the bytes sent and received."""
    first, part, last, count = _parts(form, wines)
    is_over = threading.Event()
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {form}\r\ntransfer-encoding: chunked\r\n\r\n"
        taken = [0]
        reader = threading.Thread(target=_drain, args=(connection, taken))
        prober = threading.Thread(target=_probe, args=(service.url, probes, is_over))
        reader.start()
        prober.start()
        start = time.perf_counter()
        connection.sendall(head.encode() + _chunk(first))
        chunk = _chunk(part)
        for _ in range(count):
            connection.sendall(chunk)
        connection.sendall((_chunk(last) if last else b"") + b"0\r\n\r\n")
        reader.join()
        seconds = time.perf_counter() - start
        is_over.set()
        prober.join()
    return seconds, len(first) + len(part) * count, taken[0]


def _parts(form: str, wines: np.ndarray) -> tuple[bytes, bytes, bytes, int]:
    """Return what begins a stream, what goes on and what ends it, and how many parts are between."""
    many = np.tile(wines, (100, 1))
    count = STREAMED // len(many)
    if form == "text/csv":
        return to_csv(wines[:0]), to_csv_lines(many), b"", count
    schema, whole = to_arrow(wines[:0])[:-8], to_arrow(many, 4096)
    return schema, whole[len(schema) : -8], whole[-8:], count


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


def _drain(connection: socket.socket, taken: list[int]) -> None:
    buffer, last = bytearray(2**20), b""
    while not last.endswith(b"\r\n0\r\n\r\n") and (size := connection.recv_into(buffer)):
        taken[0] += size
        last = last[-7:] + bytes(buffer[max(0, size - 7) : size])
    assert last.endswith(b"\r\n0\r\n\r\n"), "the answer was cut"


def _probe(url: str, probes: list[float], is_over: threading.Event) -> None:
    with httpx.Client() as client:
        while not is_over.wait(0.1):
            start = time.perf_counter()
            client.get(url, timeout=30)
            probes.append(time.perf_counter() - start)


def _measure_model(model: Model, wines: np.ndarray, ours: Service) -> float:
    """Return the rows a second of onnxruntime alone, on the server's core once the server has nothing left to do."""
    eventually(lambda: _is_idle(ours))
    rows = wines.astype(np.float32)
    run, name = model._session.run, model._input
    os.sched_setaffinity(0, {int(SERVER_CORE)})
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 1:
        run(None, {name: rows})
        count += len(rows)
    seconds = time.perf_counter() - start
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    return count / seconds


def _is_idle(service: Service) -> bool:
    before = _sum_seconds(service)
    time.sleep(0.2)
    return _sum_seconds(service) - before < 0.02


def _sum_seconds(service: Service) -> float:
    """Return the seconds of a core that its processes have taken."""
    return sum(sum(process.cpu_times()[:2]) for process in service.processes())


def _show_workers(folder: Path, case: Case) -> bool:
    """Show what a second worker adds, with the client on the same cores; one is measured before two and after.

    The target is that of three free cores: where there are two, the figure is only shown.
    """
    rates = []
    for workers in (1, 2, 1):
        service = _serve(folder, workers, f"{SERVER_CORE},{CLIENT_CORE}")
        with running(service):
            address = service.url.removesuffix("/readiness")
            eventually(partial(_is_ready, service.url))
            _run_wrk(address + case.path, case, folder)  # warms up
            rates.append(statistics.median(_run_wrk(address + case.path, case, folder) for _ in range(ROUNDS)))
    before, two, after = rates
    ratio = 2 * two / (before + after)
    print(f"two workers beside one, {case.name}, wrk on one of their two cores: {ratio:.2f} (target {SCALE})")
    return ratio < SCALE and (os.cpu_count() or 0) > len((SERVER_CORE, CLIENT_CORE))


def _is_ready(url: str) -> bool:
    """Say whether every worker is ready: of so many connections each takes some."""
    return all(httpx.get(url).is_success for _ in range(20))


if __name__ == "__main__":
    sys.exit(main())
