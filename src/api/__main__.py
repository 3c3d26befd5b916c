"""The prediction service with all its limits: ``python -m src.api``.

``uvicorn src.api.app:app`` serves the same app, with its limits on bodies. Only this command has deadlines for heads
and unread answers too, a cap on connections, and an end within a bound after SIGTERM.
"""

import argparse
import resource
import sys

from src import cli
from src.api.server import BACKLOG, Server
from src.errors import ConfigError
from src.settings import ApiSettings, read_settings

OTHER_FILES = 128  # sockets to the store, logs, libraries


def main() -> int:
    """Serve until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.api", description="The prediction service.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, help="the port to listen on; default: API_PORT, else 8000")
    options = parser.parse_args()
    return cli.run("api", lambda: _serve(options.host, options.port))


def _serve(host: str, port: int | None) -> None:
    settings = read_settings(ApiSettings)
    _allow_connections(settings.api_max_connections)
    Server(settings, host, port or settings.api_port).run()


def _allow_connections(most: int) -> None:
    """Let the process open as many files as that takes: shells allow 1,024 where the system allows more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + BACKLOG + OTHER_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(f"API_MAX_CONNECTIONS: {most} needs {needed} open files, and this process may have {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


if __name__ == "__main__":
    sys.exit(main())
