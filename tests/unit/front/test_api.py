"""What a person is told when the API gives no answer: a sentence that says what happened and what to do."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import api
import pytest

from tests.support.services import free_port

ANSWERS = {
    "/fine": (200, b'{"answer": 42}'),
    "/no-json": (200, b"<html>"),
    "/401": (401, b"{}"),
    "/404": (404, b'{"detail": "no day was measured yet"}'),
    "/413": (413, b'{"detail": "the body is larger than 65,536 bytes"}'),
    "/422": (
        422,
        json.dumps({"detail": "pH: too large", "errors": [{"field": "pH", "message": "too large"}]}).encode(),
    ),
    "/list": (500, b"[1]"),
    "/release": (200, b'{"of": "another service"}'),
    "/healthcheck": (503, b'{"status": 503, "detail": "all 1,024 connections are busy"}'),
    "/429": (429, b"no JSON"),
    "/500": (500, b'{"detail": "division by zero"}'),
    "/503": (503, b'{"detail": "no release yet"}'),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(1)
        status, body = ANSWERS.get(self.path, (200, b"{}"))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Run a server that answers as an API may."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("API_URL", f"http://127.0.0.1:{server.server_port}/")
    yield server
    server.shutdown()
    server.server_close()
    api._client(api.address()).close()


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/no-json", None, "is not this API. Check API_URL"),
        ("/release", None, "is not this API. Check API_URL"),
        ("/healthcheck", 503, "is not ready yet: all 1,024 connections are busy"),
        ("/list", 500, "failed with status 500: Internal Server Error"),
        ("/401", 401, "wants a key. Set FRONT_API_KEY"),
        ("/404", 404, "nothing to show here yet: no day was measured yet"),
        ("/413", 413, "more than the API takes at once: the body is larger"),
        ("/422", 422, "rejected this: pH: too large"),
        ("/429", 429, "rejected this with status 429"),
        ("/500", 500, "failed with status 500: division by zero. Its log says why: `make logs`"),
        ("/503", 503, "is not ready yet: no release yet. It follows by itself"),
    ],
)
def test_each_failure_has_its_sentence(server: ThreadingHTTPServer, path: str, status: int | None, words: str) -> None:
    with pytest.raises(api.ApiProblem) as caught:
        api.ask("GET", path)
    assert words in str(caught.value) and caught.value.status == status
    assert len(caught.value.faults) == (path == "/422")


def test_what_answers_is_returned(server: ThreadingHTTPServer) -> None:
    assert api.ask("GET", "/fine") == {"answer": 42}


def test_an_api_that_hangs_is_waited_for_once(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REST_SECONDS", 0.3)
    with pytest.raises(api.ApiProblem, match="did not answer within"):
        api.ask("GET", "/slow", timeout=0.2)
    start = time.monotonic()
    with pytest.raises(api.ApiProblem, match="wait a moment"):
        api.ask("GET", "/fine")
    assert time.monotonic() - start < 0.1
    time.sleep(0.3)
    assert api.ask("GET", "/fine") == {"answer": 42}


def test_an_api_that_is_away_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(api.ApiProblem, match=r"127.0.0.1:\d+ does not answer. Start it with `make up`"):
        api.ask("GET", "/release")
    monkeypatch.setenv("API_URL", "nonsense")
    with pytest.raises(api.ApiProblem, match="nonsense does not answer"):
        api.ask("GET", "/release")
