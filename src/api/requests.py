"""Each request has an id, which its answer repeats; it is counted and, where the access log shows it, logged."""

import logging
import re
import secrets
import time
from itertools import count

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.api.logs import ID, REQUEST_ID
from src.api.telemetry import NOWHERE

HEADER = ID.encode()
IS_LOGGED = "is_logged"  # in the scope's state: whether the access log shows the request

log = logging.getLogger("uvicorn.error")
_PROCESS, _numbers = secrets.token_hex(6).encode(), count()
_is_harmless = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch  # what a header and a log may repeat


def choose_id(given: bytes | None) -> bytes:
    """Return the id that a client gave its request, else a new one."""
    return given if given and _is_harmless(given) else b"%b-%x" % (_PROCESS, next(_numbers))


class Cors:
    """Lets pages of the sites in ``app.state.origins`` ask from a browser; without any, no page may."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, behind Starlette's own middleware where there are such sites."""
        origins = scope["app"].state.origins if scope["type"] == "http" else ()
        app = CORSMiddleware(self._app, origins, allow_methods=["*"], allow_headers=["*"]) if origins else self._app
        await app(scope, receive, send)


class Requests:
    """Stands before the app."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before ``app``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and note what became of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = choose_id(dict(scope["headers"]).get(HEADER))
        REQUEST_ID.set(request_id.decode())
        status, start = 500, time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, request_id)]}
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - start
            route = getattr(scope.get("route"), "path", NOWHERE)
            scope["app"].state.telemetry.count_request(route, status, seconds)
            if scope.get("state", {}).get(IS_LOGGED):
                told = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 3)}
                log.info("request", extra={"fields": told})
