"""One connection, and what all of them owe: each part of a request and of its answer has a deadline."""

import logging
import time
from itertools import takewhile
from typing import Any

from starlette.datastructures import State
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from src.api.limits import BATCHES, CLOSE
from src.api.problems import problem
from src.api.requests import IS_LOGGED
from src.api.telemetry import NOWHERE

MAX_HEAD = 65_536  # bytes of a request that are not its body: its head, and the frames of a body in chunks
LEAST_FRAME = 5  # bytes around a chunk: a digit and two line ends
IDLE = 5  # seconds between two requests of a connection, as uvicorn has them
LATE = 1.0  # second after which a late connection is cut; until then the app may answer 408
NOTHING, HEAD, BODY = "nothing", "head", "body"

log = logging.getLogger("uvicorn.error")


class Connections:
    """What the connections of this process owe, and by when."""

    def __init__(self, most: int, seconds: float, state: State, logged: float = 0) -> None:
        """Start with none; there will be ``most``, and each has ``seconds`` for a head, a body, or its answer.

        ``state`` is the app's, and ``logged`` the share of the requests that the access log shows.
        """
        self.most, self.state, self.logged = most, state, logged
        self.head: tuple[Any, bytes] = None, b""  # what every answer begins with, and what it was made of
        self.is_leaving = False
        self.due: dict[Connection, float] = {}  # those that owe something, by their deadline
        self.idle: dict[Connection, float] = {}  # those between two requests, by since when
        self.held: dict[Connection, None] = {}  # those whose request is complete but for its body, and no task's yet
        self._seconds = seconds + LATE
        self._evicted = 0

    def expect(self, connection: "Connection") -> None:
        """Give a connection its time, from now on."""
        self.forget(connection)
        self.due[connection] = time.monotonic() + self._seconds

    def rest(self, connection: "Connection") -> None:
        """Note that a connection is between two requests."""
        self.forget(connection)
        self.idle[connection] = time.monotonic()

    def forget(self, connection: "Connection") -> None:
        """Note that a connection owes nothing: it is being answered, or is no more."""
        self.due.pop(connection, None)
        self.idle.pop(connection, None)

    def make_room(self) -> bool:
        """Cut the connection that owes for the longest time, else the one idle for the longest.

        Returns False where every connection is being answered.
        """
        for waiting in (self.due, self.idle):
            for connection in waiting:
                connection.cut()
                self.state.telemetry.count_cut("for a new one")
                self._evicted += 1
                return True
        return False

    def sweep(self) -> None:
        """Cut those that are late; close those idle for too long, and give the app whatever is not there at once."""
        for connection in [*self.held]:
            connection.hand_over()
        now = time.monotonic()
        for connection in [*takewhile(lambda one: self.idle[one] <= now - IDLE, self.idle)]:
            connection.timeout_keep_alive_handler()
        late = [connection for connection, _ in takewhile(lambda item: item[1] <= now, self.due.items())]
        for connection in late:
            connection.cut()
            self.state.telemetry.count_cut("late")
        if late or self._evicted:
            log.warning("cut %d connections that were late, and %d for new ones", len(late), self._evicted)
            self._evicted = 0


class Connection(HttpToolsProtocol):
    """One connection. No byte now and then moves the deadline of a head or body; an answer has one for each 64 KiB.

    A batch may come without an end: each part of its body has a deadline.
    """

    def __init__(self, others: Connections, **arguments: Any) -> None:
        """Stand among ``others``."""
        super().__init__(**arguments)
        self._others = others
        self._part = HEAD  # the part of a request that is on its way
        self._overhead = 0  # bytes of it that are not its body
        self._is_logged = self._is_batch = False

    def connection_made(self, transport: Any) -> None:
        """Take the connection where there is room, or can be made."""
        super().connection_made(transport)
        if len(self.connections) > self._others.most and not self._others.make_room():
            self._reject(503, f"all {self._others.most} connections are busy; try again")
        else:
            self._others.expect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._others.forget(self)
        super().connection_lost(exc)

    def hand_over(self) -> None:
        """Let the app have a request that was held back; here none is."""

    def cut(self) -> None:
        """End it at once, whatever was begun."""
        self._others.forget(self)
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came; a part that is begun and not complete has a deadline from now on."""
        before = self._part
        if before is NOTHING:
            self._part = HEAD
        self._overhead += len(data)
        super().data_received(data)
        if self._part is NOTHING or self.transport.is_closing():
            return
        if self._overhead > MAX_HEAD:
            self._reject(431, f"the head is larger than {MAX_HEAD:,} bytes")
        elif self._part is not before or self not in self._others.due or (self._part is BODY and self._is_batch):
            self._others.expect(self)

    def on_message_begin(self) -> None:
        """Expect the rest of a head."""
        self._part = HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Expect a body; the parser says next where there is none."""
        self._part = BODY
        super().on_headers_complete()
        self.scope["state"][IS_LOGGED] = self._is_logged
        self._is_batch = self.scope["path"].startswith(BATCHES)
        if self._others.is_leaving:
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """Allow for the frame of a chunk."""
        self._overhead -= LEAST_FRAME

    def on_body(self, body: bytes) -> None:
        """Leave the body to the app's own limit."""
        self._overhead = 0 if self._is_batch else self._overhead - len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Owe the client an answer."""
        self._part, self._overhead = NOTHING, 0
        if not self.flow.write_paused:
            self._others.forget(self)
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Expect the client to take its answer, which no longer fits into the buffers."""
        super().pause_writing()
        self._others.expect(self)

    def on_response_complete(self) -> None:
        """Rest until the next request; a connection that is to be closed is expected to take what it was sent."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._others.expect(self)
        elif self._part is NOTHING and self.timeout_keep_alive_task is not None:
            self._others.rest(self)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, which is expected to take what it was sent."""
        self._others.expect(self)
        super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Reject what is no HTTP."""
        self._others.state.telemetry.count_request(NOWHERE, 400, 0)
        super().send_400_response(msg)

    def _reject(self, status: int, detail: str) -> None:
        """Answer before there is a request, and close."""
        self._others.state.telemetry.count_request(NOWHERE, status, 0)
        if self.cycle is None or self.cycle.response_complete:
            answer = problem(status, detail, headers=CLOSE)
            lines = [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", answer.body]))
        self._others.expect(self)
        self.transport.close()
