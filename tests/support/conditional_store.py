"""A store that honours conditions: in front of the gateway, which ignores those of a PUT, something that does not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from src.storage.bucket import Bucket

FAILED = b"<Error><Code>PreconditionFailed</Code><Message>another write came first</Message></Error>"


class ConditionalStore(ThreadingHTTPServer):
    """Passes requests on; a PUT whose If-Match or If-None-Match fails gets 412, checked and written under one lock."""

    daemon_threads = True

    def __init__(self, bucket: Bucket) -> None:
        """Listen on a free port; ``bucket`` is the gateway's own, whose ETags are asked for."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.gateway = urlsplit(bucket.endpoint).netloc
        self.bucket = bucket
        self.writing = threading.Lock()
        self.ignored: set[str] = set()  # the conditions that this store does not know
        self.unanswered: set[str] = set()  # keys whose next PUT is done, and its answer lost

    def allows(self, key: str, match: str | None, none_match: str | None) -> bool:
        """Say whether an object is as a PUT's conditions want it."""
        etag = self.bucket.find_etag(key) if match or none_match else None
        wrong = match and "If-Match" not in self.ignored and match != etag
        return not wrong and not (none_match and "If-None-Match" not in self.ignored and etag)


@contextmanager
def conditional_store(bucket: Bucket) -> Iterator[ConditionalStore]:
    """Run such a store in front of the one that ``bucket`` is in."""
    with ConditionalStore(bucket) as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body is a write of its own, and would wait for an acknowledgement
    server: ConditionalStore

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command != "PUT":
            with self.server.writing:  # the gateway shows an object a moment before its ETag, such a store does not
                answer = self._ask(body)
            self._answer(*answer)
            return
        key = unquote(urlsplit(self.path).path).split("/", 2)[-1]
        with self.server.writing:
            allowed = self.server.allows(key, self.headers["If-Match"], self.headers["If-None-Match"])
            answer = self._ask(body) if allowed else (412, {"Content-Type": "application/xml"}, FAILED)
        if key in self.server.unanswered:
            self.server.unanswered.remove(key)
            self.close_connection = True
        else:
            self._answer(*answer)

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = pass_on

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in self.headers.items() if name not in ("Connection", "Expect")}
        connection = HTTPConnection(self.server.gateway, timeout=30)
        try:
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        skipped = ("Connection", "Transfer-Encoding")
        for name, value in ({**headers, "Content-Length": length}).items():
            if name not in skipped:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
