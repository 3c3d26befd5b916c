"""Real services for tests: on random ports of 127.0.0.1, in temporary folders, ended with their whole group."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

T = TypeVar("T")
PATIENCE = 120.0  # seconds: what a machine that others load may take; only a failure takes so long
BIN = Path(sys.executable).parent


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def eventually(check: Callable[[], T | None], seconds: float = PATIENCE) -> T:
    """Call ``check`` until it returns something true, and return that; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"still {result!r} after {seconds} s"
        time.sleep(0.05)
    return result


class Program:
    """A command in a session of its own, by which every process that came of it is found again."""

    def __init__(
        self, command: list[str], log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Hold the command; :meth:`start` runs it."""
        self.log = log
        self._command, self._env, self._cwd = command, env, cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run the command."""
        self.begin()

    def begin(self) -> None:
        """Run the command and wait for nothing."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._env, cwd=self._cwd, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, seconds: float) -> int:
        """Wait until the command ends by itself, and return its exit code."""
        assert self._process
        return self._process.wait(seconds)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Ask the group to end and wait for it; what is left of the session then is killed."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(15)
        self.kill()

    def kill(self) -> None:
        """End the whole session at once."""
        while processes := self.processes():
            self.send(signal.SIGKILL)
            psutil.wait_procs(processes, timeout=5)
        if self._process:
            self._process.wait()
        self._process = None

    def processes(self) -> list[psutil.Process]:
        """Return the session's processes: Airflow's leave their group and outlive their parent."""
        session = self._process.pid if self._process else None
        return [process for process in psutil.process_iter() if session and _session(process) == session]

    def send(self, how: int) -> None:
        """Send a signal to the whole session."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(how)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let nothing of it run until the block ends, as if the machine hung."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def check(self) -> None:
        """Fail with the log where the command has ended."""
        assert self._process and self._process.poll() is None, self.log.read_text()


class Service(Program):
    """A program that answers HTTP."""

    def __init__(
        self, command: list[str], url: str, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Hold the command and the address that it answers at."""
        super().__init__(command, log, env, cwd)
        self.url = url

    def start(self) -> None:
        """Run the command and wait until it answers; a 5xx, such as Prometheus gives as it opens its data, is none."""
        self.begin()
        eventually(self._answers)

    def _answers(self) -> bool:
        self.check()
        try:
            return not httpx.get(self.url, timeout=2).is_server_error
        except httpx.HTTPError:
            return False


def gateway(folder: Path, access_key: str, secret_key: str) -> Service:
    """Return an object store: the MinIO gateway of JuiceFS, which ``make up`` runs.

    There its metadata are in SQLite. Here they are in BadgerDB, which takes a third of the time, and may lose the last
    writes when the power fails.
    """
    juicefs = [str(BIN / "juicefs"), "--no-agent"]
    meta = f"badger://{folder}/meta"
    place = ["--storage", "file", "--bucket", f"{folder}/objects/", "--trash-days", "0"]
    subprocess.run([*juicefs, "format", *place, meta, "wine"], check=True, capture_output=True)
    port = free_port()
    command = [*juicefs, "gateway", "--multi-buckets", "--keep-etag", "--no-usage-report", "--no-banner"]
    command += ["--cache-dir", f"{folder}/cache", "--log", f"{folder}/gateway.log", "--metrics", "127.0.0.1:0"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "MINIO_ROOT_USER": access_key}
    env["MINIO_ROOT_PASSWORD"] = secret_key
    return Service([*command, meta, f"127.0.0.1:{port}"], f"http://127.0.0.1:{port}", folder / "store.log", env)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Make ``folder`` a disk of its own, in memory; skip the test where this machine does not let it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip(f"no small disk may be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path) -> Path:
    """Leave no byte free on the disk of ``folder``; return the file that takes the place."""
    path = folder / "fills-the-disk"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"0")
    return path


def _session(process: psutil.Process) -> int | None:
    """Return the session's id; None for what has ended, even where nobody has asked how."""
    with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return os.getsid(process.pid) if process.status() != psutil.STATUS_ZOMBIE else None
    return None
