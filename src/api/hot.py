"""The hot path: a plain ``POST /predict`` is answered where its bytes arrive, without a task, a scope or a router.

It takes a request only as nearly every client sends it, and a body only where it holds the features and nothing else,
each within its limits. Whatever is different in any way goes unchanged to the app, which answers it as if this module
were not there: no rejection is worded here. ``docs/serving.md`` has the figures.
"""

from random import random
from time import perf_counter
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from src.api.connection import BODY, HEAD, NOTHING, Connection
from src.api.keys import HEADER
from src.api.predict import answer
from src.api.requests import HEADER as ID
from src.api.requests import choose_id
from src.api.schemas import Wine

PATH = "/predict"
MOST = 4096  # bytes of a body; one row has about 300
# A request with one of these asks for more than a prediction.
UNUSUAL = frozenset([b"expect", b"origin", b"transfer-encoding", b"upgrade"])
URL = PATH.encode()
KEY = HEADER.lower().encode()


def _row() -> Any:
    """Return the type of a row, with the limits of the schema."""
    known = Wine.model_json_schema()["properties"]
    fields = [
        (name, Annotated[float, msgspec.Meta(ge=one["minimum"], le=one["maximum"])]) for name, one in known.items()
    ]
    return msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)


_decode = msgspec.json.Decoder(_row()).decode


class HotConnection(Connection):
    """A connection that answers what it can before the app is asked."""

    _held: bytes | None = None  # what has come of a body that may be answered here
    _request_id: bytes | None = None

    def on_message_begin(self) -> None:
        """Begin a request; what only the app needs is made when it gets it."""
        self._part, self.url, self.headers, self.expect_100_continue = HEAD, b"", [], False
        self._is_logged = self._others.logged > random()

    def on_headers_complete(self) -> None:
        """Hold a request back that may be answered here."""
        if self.url == URL and self._is_usual():
            self._part, self._held = BODY, b""
        else:
            self._begin_for_app()

    def on_body(self, body: bytes) -> None:
        """Hold the body back with its head."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """Answer, or let the app do so."""
        if self._held is None:
            super().on_message_complete()
        elif (content := self._answer(self._held)) is None:
            self.hand_over()
            super().on_message_complete()
        else:
            self._held = None
            self._part, self._overhead = NOTHING, 0
            self._others.held.pop(self, None)
            self._others.rest(self)
            self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a body that did not come with its head is not held back for long."""
        super().data_received(data)
        if self._held is not None:
            self._others.held[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._held = None
        self._others.held.pop(self, None)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Let what was begun end in order."""
        self.hand_over()
        super().shutdown()

    def hand_over(self) -> None:
        """Let the app have what was held back."""
        held, self._held = self._held, None
        self._others.held.pop(self, None)
        if held is not None:
            self._begin_for_app()
            super().on_body(held)

    def _begin_for_app(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that the app is given
        super().on_headers_complete()

    def _is_usual(self) -> bool:
        parser, others = self.parser, self._others
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return False
        if self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return False
        kind, length, limits = b"", MOST, others.state.limits
        key = self._request_id = None
        for name, value in self.headers:
            if name == b"content-type":
                kind = value
            elif name == b"content-length":
                length = int(value)
            elif name == KEY:
                key = value
            elif name == ID:
                self._request_id = value
            elif name in UNUSUAL:
                return False
        if kind != b"application/json" or length > min(MOST, limits.bytes_of.get(PATH, limits.bytes)):
            return False
        return others.state.keys.accept(key) and not others.is_leaving and not self._is_logged

    def _answer(self, body: bytes) -> bytes | None:
        """Return the whole answer; None where it is the app's to give."""
        state, start = self._others.state, perf_counter()
        live = state.champion.live
        if live is None or self._others.is_leaving:
            return None
        try:
            values = astuple(_decode(body))
            content = answer(live, values, state.telemetry)
        except Exception:  # the app meets it again, and logs or words it
            return None
        state.telemetry.count_request(PATH, 200, perf_counter() - start)
        self.server_state.total_requests += 1
        request_id = choose_id(self._request_id)
        state.log.add(content, values, request_id, body)
        return b"%b%b: %b\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%b" % (
            self._head(),
            ID,
            request_id,
            len(content),
            content,
        )

    def _head(self) -> bytes:
        """Return what every answer begins with; the server makes its headers anew each second."""
        headers = self.server_state.default_headers
        if self._others.head[0] is not headers:
            lines = [name + b": " + value + b"\r\n" for name, value in headers]
            self._others.head = headers, b"".join([STATUS_LINE[200], *lines])
        return self._others.head[1]
