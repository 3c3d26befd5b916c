"""PostgreSQL and Redis from Debian's packages: on random ports of 127.0.0.1, with random passwords, gone at the end."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.services import Program, eventually, free_port

USER = "wine"


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run PostgreSQL, which refuses to be root's, and yield the address of its database."""
    port, password = free_port(), secrets.token_hex(16)
    initdb, postgres, pg_isready = map(find_command, ("initdb", "postgres", "pg_isready"))
    with tempfile.TemporaryDirectory(prefix="wine-postgresql-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        prefix: list[str] = []
        if os.getuid() == 0:
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        make = [*prefix, initdb, "--pgdata", f"{name}/data", "--username", USER, "--no-sync"]
        make += ["--encoding", "UTF8", "--no-locale"]
        make += ["--auth", "scram-sha-256", "--pwfile", f"{name}/password"]
        made = subprocess.run(make, cwd=name, check=False, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={name}", "-c", "fsync=off"]
        server = Program(
            [*prefix, postgres, "-D", f"{name}/data", "-p", str(port), *options],
            folder / "postgresql.log",
            {"PATH": os.environ["PATH"]},
            folder,
        )
        server.start()

        def answers() -> bool:
            server.check()
            ask = [pg_isready, "--quiet", "--host", "127.0.0.1", "--port", str(port)]
            return subprocess.run(ask, check=False).returncode == 0

        try:
            eventually(answers)
            yield f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            server.stop(signal.SIGINT)


@contextmanager
def run_redis(folder: Path) -> Iterator[str]:
    """Run Redis, which keeps everything in memory, and yield its address."""
    port, password = free_port(), secrets.token_hex(16)
    config = folder / "redis.conf"
    config.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir {folder}\n')
    server = Program([find_command("redis-server"), str(config)], folder / "redis.log")
    server.start()

    def answers() -> bool:
        server.check()
        with redis.Redis(port=port, password=password) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    try:
        eventually(answers)
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        server.stop()


def find_command(name: str) -> str:
    """Return the path of a server's command; fail where it is not installed."""
    folders = [*map(str, Path("/usr/lib/postgresql").glob("*/bin")), os.environ["PATH"]]  # Debian leaves it off PATH
    path = shutil.which(name, path=os.pathsep.join(folders))
    package = name if name == "redis-server" else "postgresql"
    assert path, f"there is no {name}; install Debian's package {package}: .ci/install {package}"
    return path
