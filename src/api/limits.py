"""What the body of a request may be: so many bytes, within so many seconds. It holds under any ASGI server."""

import asyncio
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.api.problems import tell

# Whoever is rejected may be sending still; what is left of a body must not be taken for the next request.
CLOSE = {"connection": "close"}
# What reads these bodies bounds their size; here each part of one has its deadline.
BATCHES = ("/v2/", "/predict/batch")


@dataclass(frozen=True)
class Limits:
    """The most bytes of a body, of a batch's body in memory, and those of the paths that differ.

    The seconds are those in which a body must be complete.
    """

    bytes: int
    seconds: float
    batch_bytes: int = 16 * 2**20
    bytes_of: Mapping[str, int] = field(default_factory=dict)


class BodyLimit:
    """Answers 413 to a body that is too large, and 408 to one that is late, before the app has it in memory.

    The limits are the app's ``state.limits``, so that they are read when the app starts.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, its body counted and timed."""
        length = _announced_length(scope) if scope["type"] == "http" else 0
        if length == 0:
            await self._app(scope, receive, send)
            return
        limits: Limits = scope["app"].state.limits
        if scope["path"].startswith(BATCHES):
            body = _Body(receive, send, sys.maxsize, limits.seconds, in_parts=True)
        else:
            body = _Body(receive, send, limits.bytes_of.get(scope["path"], limits.bytes), limits.seconds)
        if length is not None and length > body.most:
            await tell(scope["path"], 413, body.too_large, CLOSE)(scope, receive, body.send)
        else:
            await self._app(scope, body.receive, body.send)


class _Body:
    """The body of one request, on its way."""

    def __init__(self, receive: Receive, send: Send, most: int, seconds: float, in_parts: bool = False) -> None:
        self.most = most
        self._in_parts = in_parts
        self._receive, self._send, self._seconds = receive, send, seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._is_complete = False

    @property
    def too_large(self) -> str:
        """Say what the limit is."""
        return f"the body is larger than {self.most:,} bytes"

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            HTTPException: 413 where the parts are too large together, 408 where they come too late.

        """
        if self._is_complete:
            return await self._receive()
        if self._in_parts:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._take()
        except TimeoutError:
            raise HTTPException(408, f"the body was not complete within {self._seconds:g} s", CLOSE) from None
        self._size += len(message.get("body", b""))
        if self._size > self.most:
            raise HTTPException(413, self.too_large, CLOSE)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; before the last, throw away what is left of the body.

        A connection that is closed on unread bytes is reset, and its client might never see the answer.
        """
        if not self._is_complete and message["type"] == "http.response.body" and not message.get("more_body"):
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body"}
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline):
                    while not self._is_complete:
                        await self._take()
        await self._send(message)

    async def _take(self) -> Message:
        message = await self._receive()
        self._is_complete = not message.get("more_body")
        return message


def _announced_length(scope: Scope) -> int | None:
    """Return how long the head says that the body is; None where it comes in chunks."""
    length: int | None = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)
    return length
