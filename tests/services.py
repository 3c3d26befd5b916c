"""Real services for tests: on random ports of 127.0.0.1, in temporary folders, ended with their whole group."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx

T = TypeVar("T")
BIN = Path(sys.executable).parent


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check: Callable[[], T | None], seconds: float = 30) -> T:
    """Call ``check`` until it returns something true, and return that; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"still {result!r} after {seconds} s"
        time.sleep(0.05)
    return result


class Service:
    """A command that answers HTTP."""

    def __init__(self, command: list[str], url: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        """Hold the command; :meth:`start` runs it."""
        self.url, self.log = url, log
        self._command, self._env = command, env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run the command and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        eventually(self._answers)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the whole group and wait for it."""
        if self._process is None:
            return
        os.killpg(self._process.pid, how)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        assert self._process and self._process.poll() is None, self.log.read_text()
        try:
            httpx.get(self.url, timeout=2)
        except httpx.HTTPError:
            return False
        return True


def gateway(folder: Path, access_key: str, secret_key: str) -> Service:
    """Return an object store: the MinIO gateway of JuiceFS, as ``make up`` runs it."""
    juicefs = [str(BIN / "juicefs"), "--no-agent"]
    meta = f"sqlite3://{folder}/meta.db"
    place = ["--storage", "file", "--bucket", f"{folder}/objects/", "--trash-days", "0"]
    subprocess.run([*juicefs, "format", *place, meta, "wine"], check=True, capture_output=True)
    port = free_port()
    command = [*juicefs, "gateway", "--multi-buckets", "--keep-etag", "--no-usage-report", "--no-banner"]
    command += ["--cache-dir", f"{folder}/cache", "--log", f"{folder}/gateway.log", "--metrics", "127.0.0.1:0"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "MINIO_ROOT_USER": access_key}
    env["MINIO_ROOT_PASSWORD"] = secret_key
    return Service([*command, meta, f"127.0.0.1:{port}"], f"http://127.0.0.1:{port}", folder / "store.log", env)
