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
    most = _allow_connections(settings.api_max_connections)
    if most < settings.api_max_connections:
        print(
            f"api: at most {most} connections, not API_MAX_CONNECTIONS={settings.api_max_connections}: "
            "this process may open no more files (see: ulimit -Hn)",
            file=sys.stderr,
        )
    Server(settings.model_copy(update={"api_max_connections": most}), host, port or settings.api_port).run()


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
