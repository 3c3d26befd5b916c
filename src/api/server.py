"""The server of ``python -m src.api``: uvicorn with deadlines, a cap on connections, and an end within a bound."""

import asyncio
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from src.api.app import app
from src.api.connection import Connections
from src.api.hot import HotConnection
from src.api.logs import CONFIG
from src.api.workers import BACKLOG
from src.settings import ApiSettings


class Server(uvicorn.Server):
    """Uvicorn that leaves in order when SIGTERM tells it to.

    First ``/readiness`` answers 503, while the port stays open and every request is answered; after
    ``api_drain_seconds`` the port is closed, and what was begun has ``api_stop_seconds`` to end. A second signal, or
    Ctrl-C, closes the port at once.
    """

    def __init__(self, settings: ApiSettings, host: str, port: int) -> None:
        """Hold the settings; :meth:`run` serves."""
        self._connections = Connections(
            settings.api_max_connections, settings.api_request_seconds, app.state, settings.api_access_log
        )
        self._drain_seconds, self._stop_seconds = settings.api_drain_seconds, settings.api_stop_seconds
        self._closes_at: float | None = None
        self._parent: int | None = None
        protocol: Any = partial(HotConnection, self._connections)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=protocol,
            log_config=CONFIG,
            access_log=False,  # the app has one
            ws="none",  # a socket that nobody serves would be a connection without a limit
            backlog=BACKLOG,
            timeout_graceful_shutdown=settings.api_stop_seconds + 1,  # for an app that hangs; clients are cut before
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave, or leave."""
        if sig == signal.SIGTERM and self.started and self._closes_at is None:
            self._closes_at = time.monotonic() + self._drain_seconds
            app.state.is_leaving = self._connections.is_leaving = True
        else:
            super().handle_exit(sig, frame)

    def run_worker(self, descriptor: int, counters: Path) -> None:
        """Serve as one of several, on their parent's socket, and count in a file that the others read."""
        app.state.counters, self._parent = counters, os.getppid()
        self.run([socket.socket(fileno=descriptor)])

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections ten times a second; without its parent, a worker leaves."""
        self._connections.sweep()
        if self._parent not in (None, os.getppid()) and self._closes_at is None:
            self.handle_exit(signal.SIGTERM, None)
        if self._closes_at is not None and time.monotonic() >= self._closes_at and not self.should_exit:
            super().handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the port; a connection that has not ended in time is cut."""
        asyncio.get_running_loop().call_later(self._stop_seconds, self._cut_all)
        await super().shutdown(sockets)

    def _cut_all(self) -> None:
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            connection.cut()
