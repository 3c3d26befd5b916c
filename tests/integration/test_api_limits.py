"""Whatever a client does, a real server on a real socket keeps its memory, answers others, and ends when it is told."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from prometheus_client import generate_latest
from starlette.datastructures import State
from uvicorn.server import ServerState

from src.api.app import app
from src.api.champion import Champion
from src.api.connection import Connections
from src.api.hot import HotConnection
from src.api.telemetry import Telemetry
from src.config import PROJECT
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import Registry
from src.storage.bucket import Bucket
from src.storage.reader import Reader
from tests.conftest import new_bucket
from tests.support.services import Service, eventually, free_port

SERVER = ["src.api"]
BARE = ["uvicorn", "src.api.app:app"]
HALF_A_HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-ty"
BODY = json.dumps(EXAMPLE).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 300\r\n\r\n"
ASKED = HEAD.replace(b"300", b"%d" % len(BODY)) + BODY
WELCOME = b"GET /liveness HTTP/1.1\r\nhost: x\r\n\r\n"


@contextmanager
def running(folder: Path, command: list[str] = SERVER, shell: str = "", **settings: str) -> Iterator[Service]:
    """Run the API on the bucket that the environment names."""
    port = free_port()
    env = os.environ | {"API_CACHE": str(folder / "cache"), "API_POLL_SECONDS": "0.1", "PYTHONPATH": str(PROJECT)}
    line = [*(("sh", "-c", shell) if shell else ()), sys.executable, "-m", *command, "--port", str(port)]
    api = Service(line, f"http://127.0.0.1:{port}/liveness", folder / "api.log", env | settings)
    try:
        api.start()
        yield api
    finally:
        api.stop()


@pytest.fixture(scope="module")
def hasty(store: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the API with deadlines of two seconds, on an empty bucket."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        new_bucket(store, monkeypatch)
        with running(tmp_path_factory.mktemp("hasty"), API_REQUEST_SECONDS="2") as api:
            yield api


@contextmanager
def many_files() -> Iterator[None]:
    """Let the test open as many connections as an attacker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(api: Service, sent: bytes = b"") -> socket.socket:
    """Return a connection on which something was sent."""
    connection = socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0), timeout=30)
    with suppress(ConnectionError):
        connection.sendall(sent)
    return connection


def is_open(connection: socket.socket) -> bool:
    """Say whether the other side has kept it; what it answered is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    finally:
        connection.settimeout(30)
    return False


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def peers(process: psutil.Process) -> list[object]:
    return [tuple(one.raddr) for one in process.net_connections("tcp") if one.raddr]


def memory(api: Service) -> int:
    return sum(process.memory_info().rss for process in api.processes())


def drip(connection: socket.socket, byte: bytes) -> float:
    """Send a byte ten times a second until the other side closes; returns after how many seconds it did."""
    start = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - start < 20:
        try:
            connection.sendall(byte)
            if connection.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - start


@pytest.mark.parametrize("command", [SERVER, BARE])
def test_a_body_without_end_takes_no_memory(bucket: Bucket, tmp_path: Path, command: list[str]) -> None:
    def zeros() -> Iterator[bytes]:
        yield from (bytes(1024 * 1024) for _ in range(200))

    with running(tmp_path, command) as api:
        url, json = api.url.replace("liveness", "predict"), {"content-type": "application/json"}
        httpx.post(url, json=EXAMPLE)
        before, peaks = memory(api), []
        for headers in (json, json | {"content-length": str(200 * 1024 * 1024)}):
            answer = httpx.post(url, content=zeros(), headers=headers, timeout=30)
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"
            peaks.append(memory(api))
        assert max(peaks) - before < 20 * 1024 * 1024
        peak = max(int(line.split()[1]) for line in _status(api) if line.startswith("VmHWM"))
        assert peak * 1024 - before < 30 * 1024 * 1024


def _status(api: Service) -> list[str]:
    return [line for process in api.processes() for line in Path(f"/proc/{process.pid}/status").read_text().split("\n")]


@pytest.mark.parametrize("command", [SERVER, BARE])
def test_a_body_that_drips_is_rejected_at_its_deadline(bucket: Bucket, tmp_path: Path, command: list[str]) -> None:
    with running(tmp_path, command, API_REQUEST_SECONDS="2") as api, connect(api, HEAD) as silent:
        with connect(api, HEAD) as dripping:
            assert 0.5 < drip(dripping, b" ") < 15
        answer = read_all(silent)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"the body was not complete within 2 s" in answer


@pytest.mark.parametrize(
    ("sent", "byte"), [(b"", b"\n"), (HALF_A_HEAD, b"p"), (WELCOME, b"\n"), (WELCOME + HALF_A_HEAD, b"p")]
)
def test_a_head_that_drips_is_cut_at_its_deadline(hasty: Service, sent: bytes, byte: bytes) -> None:
    with connect(hasty, sent) as dripping:
        if sent.startswith(WELCOME):
            assert dripping.recv(12) == b"HTTP/1.1 200"
            is_open(dripping)
        assert 0.5 < drip(dripping, byte) < 15


def test_a_body_that_nobody_reads_is_cut_at_its_deadline(hasty: Service) -> None:
    head = HEAD.replace(b"POST /predict", b"POST /liveness")
    with connect(hasty, head) as connection:
        assert connection.recv(12) == b"HTTP/1.1 405"
        is_open(connection)
        assert 0.5 < drip(connection, b" ") < 15


def test_a_socket_that_nobody_serves_is_not_upgraded(hasty: Service) -> None:
    upgrade = b"GET /liveness HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    with connect(hasty, upgrade) as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
        is_open(connection)
        assert drip(connection, b"\n") < 15


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"GET /liveness HTTP/1.1\r\nhost: x\r\nlong: ", b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
        (b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;long=", b""),
    ],
)
def test_what_is_no_body_has_its_limit_too(hasty: Service, begun: bytes, answer: bytes) -> None:
    with connect(hasty, begun) as connection:
        start = time.monotonic()
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
        assert read_all(connection).startswith(answer)
        assert time.monotonic() - start < 1.9, "this was the deadline, not the limit"


def test_an_answer_that_nobody_takes_is_cut(hasty: Service) -> None:
    (process,) = hasty.processes()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", httpx.URL(hasty.url).port))
        ours = connection.getsockname()
        eventually(lambda: ours in peers(process))
        connection.settimeout(1)
        with suppress(OSError):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
        eventually(lambda: ours not in peers(process), 10)


def test_of_400_slow_connections_none_is_left_after_the_deadline(hasty: Service) -> None:
    with many_files(), ExitStack() as stack:
        sent = [HALF_A_HEAD, HEAD, HEAD + b"{", b"", WELCOME + HALF_A_HEAD]
        slow = [stack.enter_context(connect(hasty, sent[number % len(sent)])) for number in range(400)]
        assert sum(map(is_open, slow)) > 200
        eventually(lambda: not any(map(is_open, slow)), 10)


def test_half_sent_heads_do_not_shut_others_out(bucket: Bucket, tmp_path: Path) -> None:
    seconds: list[float] = []

    def ask(client: httpx.Client) -> None:
        start = time.perf_counter()
        assert client.get(api.url).status_code == 200
        with connect(api, WELCOME) as connection:
            assert connection.recv(12) == b"HTTP/1.1 200"
        seconds.append(time.perf_counter() - start)

    with running(tmp_path) as api, many_files(), ExitStack() as stack, httpx.Client(timeout=5) as client:
        slow = []
        for number in range(1100):
            slow.append(stack.enter_context(connect(api, HALF_A_HEAD)))
            if number % 10 == 0 or number > 990:
                ask(client)
        assert sum(map(is_open, slow)) <= 1000
        assert not is_open(slow[0])
        assert is_open(slow[-1])
        for _ in range(50):
            ask(client)
    assert max(seconds) < 5


def test_where_few_files_may_be_opened_it_serves_fewer_connections(bucket: Bucket, tmp_path: Path) -> None:
    limited = 'ulimit -n 500; exec "$0" "$@"'
    with running(tmp_path, shell=limited) as api, ExitStack() as stack:
        assert "at most 116 connections, not API_MAX_CONNECTIONS=1000" in api.log.read_text()
        slow = [stack.enter_context(connect(api, HALF_A_HEAD)) for _ in range(150)]
        assert httpx.get(api.url, timeout=5).status_code == 200
        eventually(lambda: sum(map(is_open, slow)) <= 116)
        assert sum(map(is_open, slow)) > 50


def test_where_every_connection_is_being_answered_one_more_is_told_to_come_again(
    bucket: Bucket, tmp_path: Path
) -> None:
    telemetry = Telemetry(Champion(Reader.from_environment, tmp_path, 1, {}))

    async def ask() -> bytes:
        config = uvicorn.Config(app, ws="none")

        def connection() -> HotConnection:
            others = Connections(0, 1, State({"telemetry": telemetry}))
            return HotConnection(others, config=config, server_state=ServerState(), app_state={})

        async with await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(10):
                answer = await reader.read()
            writer.close()
            return answer

    answer = asyncio.run(ask())
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"all 0 connections are busy" in answer
    assert b'wine_requests_total{route="none",status="503"} 1.0' in generate_latest(telemetry.registry)


def test_on_sigterm_it_is_not_ready_answers_all_and_ends(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    with running(tmp_path, API_DRAIN_SECONDS="10", API_STOP_SECONDS="1") as api, httpx.Client(timeout=5) as client:
        ready, predict = (api.url.replace("liveness", path) for path in ("readiness", "predict"))
        eventually(lambda: client.get(ready).is_success)
        (process,) = api.processes()
        with (
            connect(api, HEAD) as half_a_body,
            connect(api, HALF_A_HEAD) as half_a_head,
            connect(api) as silent,
            connect(api, ASKED[:-10]) as begun,
        ):
            start = time.monotonic()
            process.send_signal(signal.SIGTERM)
            answer = eventually(lambda: None if (answer := httpx.get(ready)).is_success else answer)
            assert answer.json()["detail"] == "the service is about to stop"
            begun.sendall(ASKED[-10:])
            assert begun.recv(12) == b"HTTP/1.1 200", "what was begun before is answered"
            answers = 0
            while time.monotonic() - start < 1.8:
                assert client.post(predict, json=EXAMPLE).status_code == 200
                with connect(api, WELCOME) as connection:
                    assert connection.recv(12) == b"HTTP/1.1 200"
                answers += 1
            assert answers > 10
            eventually(lambda: _rejects(api))
            assert api.wait(15) in (0, -signal.SIGTERM)
            assert not any(map(is_open, (half_a_body, half_a_head, silent)))
        assert "Traceback" not in api.log.read_text()


def _rejects(api: Service) -> bool:
    try:
        connect(api).close()
    except ConnectionRefusedError:
        return True
    return False


def test_ctrl_c_ends_it_at_once(bucket: Bucket, tmp_path: Path) -> None:
    with running(tmp_path, API_DRAIN_SECONDS="60", API_STOP_SECONDS="1") as api, connect(api, HEAD):
        (process,) = api.processes()
        process.send_signal(signal.SIGINT)
        api.wait(5)


def test_too_few_files_for_one_connection_stop_the_start(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="this process may open 384 files, and needs more than 384"):
        with running(tmp_path, shell='ulimit -n 384; exec "$0" "$@"'):
            pass


def test_what_is_rejected_before_the_app_leaves_a_trace(hasty: Service) -> None:
    json = {"content-type": "application/json"}
    for sent in (b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 70_000):
        with connect(hasty, sent) as connection:
            assert read_all(connection)
    url = hasty.url.replace("liveness", "predict")
    assert httpx.post(url, content=b" " * 70_000, headers=json).status_code == 413
    with connect(hasty, HEAD) as silent, connect(hasty, HALF_A_HEAD) as late:
        assert read_all(silent).startswith(b"HTTP/1.1 408")
        assert read_all(late) == b""
    assert httpx.get(hasty.url.replace("liveness", "nothing")).status_code == 404
    text = httpx.get(hasty.url.replace("liveness", "metrics")).text
    for route, status in (("none", 400), ("none", 431), ("none", 413), ("/predict", 408), ("none", 404)):
        assert f'wine_requests_total{{route="{route}",status="{status}"}}' in text
    assert 'wine_connections_cut_total{reason="late"}' in text
