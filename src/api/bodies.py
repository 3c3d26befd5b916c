"""Routes that read their bodies themselves; a body that must be in memory as a whole is bounded, and so are all."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from src.api.limits import CLOSE, Limits

AT_ONCE = 8  # bodies of the largest size that may be in memory at the same time


class Raw(APIRoute):
    """A route that FastAPI documents and does no more for: the endpoint reads the request as it is."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Take what any route takes."""
        super().__init__(path, endpoint, **options)
        self.app = self._serve

    async def answer(self, request: Request) -> Response:
        """Return the answer."""
        answer: Response = await self.endpoint(request)
        return answer

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientDisconnect):  # nobody is left who could be told
            answer = await self.answer(Request(scope, receive, send))
            await answer(scope, receive, send)


class Held:
    """The bytes of bodies that are in memory now, of all requests together."""

    def __init__(self) -> None:
        """Start with none."""
        self.size = 0


held = Held()


async def read_whole(request: Request) -> bytes:
    """Return a body.

    Raises:
        HTTPException: 413 where it is too large, 408 where it is late, 503 where others take all the memory there is.
        ClientDisconnect: the client is gone.

    """
    limits: Limits = request.app.state.limits
    parts, size = [], 0
    deadline = time.monotonic() + limits.seconds  # looked at when a part comes; each has a deadline of its own
    try:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            held.size += len(part)
            if size > limits.batch_bytes:
                raise HTTPException(413, f"the body is larger than {limits.batch_bytes:,} bytes", CLOSE)
            if held.size > AT_ONCE * limits.batch_bytes:
                raise HTTPException(503, "too many large bodies at a time; try again", CLOSE)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)
            if time.monotonic() > deadline:
                raise HTTPException(408, f"the body was not complete within {limits.seconds:g} s", CLOSE)
    finally:
        held.size -= size
