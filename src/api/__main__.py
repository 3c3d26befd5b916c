"""The prediction service with all its limits: ``python -m src.api``.

``uvicorn src.api.app:app`` serves the same app, with its limits on bodies. Only this command has deadlines for heads
and unread answers too, a cap on connections, and an end within a bound after SIGTERM.
"""

import argparse
import resource
import sys
from pathlib import Path

from src import cli
from src.api.logs import warn
from src.api.workers import BACKLOG, Workers
from src.core.signature import trust
from src.errors import ConfigError
from src.settings import ApiSettings, read_settings, read_trusted_keys

OTHER_FILES = 128  # sockets to the store, logs, libraries


def main() -> int:
    """Serve until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.api", description="The prediction service.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; default: %(default)s")
    parser.add_argument("--port", type=int, help="the port to listen on; default: API_PORT, else 8000")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)  # where it counts; its parent tells it so
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    return cli.run("api", lambda: _serve(options))


def _serve(options: argparse.Namespace) -> int | None:
    settings = read_settings(ApiSettings)
    trust(read_trusted_keys())  # what is wrong with them is told in one line here
    most = _allow_connections(settings.api_max_connections)
    if most < settings.api_max_connections:
        warn(
            f"at most {most} connections, not API_MAX_CONNECTIONS={settings.api_max_connections}: "
            "this process may open no more files (see: ulimit -Hn)"
        )
    port = options.port or settings.api_port
    if settings.api_workers > 1 and options.worker is None:
        return Workers(settings.api_workers, options.host, port).run()
    from src.api.server import Server  # takes memory, and the parent of workers serves nothing

    server = Server(settings.model_copy(update={"api_max_connections": most}), options.host, port)
    if options.worker:
        server.run_worker(options.socket, options.worker)
    else:
        server.run()
    return None


def _allow_connections(most: int) -> int:
    """Let the process open as many files as that takes, where the system allows it; returns for how many they suffice.

    Shells allow 1,024 where the system allows more.

    Raises:
        ConfigError: they do not suffice for one.

    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + BACKLOG + OTHER_FILES
    if resource.RLIM_INFINITY not in (soft, hard):
        needed = min(needed, hard)
    if needed <= BACKLOG + OTHER_FILES:
        raise ConfigError(f"this process may open {hard} files, and needs more than {BACKLOG + OTHER_FILES}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return needed - BACKLOG - OTHER_FILES


if __name__ == "__main__":
    sys.exit(main())
