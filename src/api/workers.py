"""Several processes that serve one port: their parent binds it, and replaces whichever ends."""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from src.api.logs import warn

BACKLOG = 256  # connections that may be accepted at once, before any can be cut
PAUSE = 1.0  # seconds before a worker that has ended is replaced, so that one that cannot live takes no core


class Workers:
    """The workers of one port, each in a process group of its own, so that no signal reaches it twice."""

    def __init__(self, number: int, host: str, port: int) -> None:
        """Bind the port for so many workers; :meth:`run` starts them."""
        self._socket = socket.create_server((host, port), backlog=BACKLOG, family=_family(host))
        self._socket.set_inheritable(True)
        self._number = number
        self._workers: dict[int, int] = {}  # their numbers by process id
        self._signal: int | None = None  # that told them to end

    def run(self) -> int:
        """Keep all of them running until a signal, and return when they have ended; the exit code is theirs.

        A worker that fails before it has served is not tried again: whatever it lacks, the next would lack.
        """
        code = 0
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, lambda received, _: self._end(received))
        with TemporaryDirectory(prefix="api-counters-") as folder:
            for number in range(self._number):
                self._start(number, Path(folder))
            while self._workers:
                pid, status = os.wait()
                number = self._workers.pop(pid, -1)
                if number < 0:  # not ours: in a container the first process has whatever lost its parent
                    continue
                code = code or max(0, os.waitstatus_to_exitcode(status))
                if self._signal is None and not (Path(folder) / str(number)).exists():
                    self._end(signal.SIGTERM)
                elif self._signal is None:
                    code = 0
                    warn(f"worker {number} ended; another takes its place")
                    time.sleep(PAUSE)
                    self._start(number, Path(folder))
        return code

    def _start(self, number: int, folder: Path) -> None:
        if self._signal is not None:
            return
        command = [sys.executable, "-m", "src.api", "--worker", str(folder / str(number))]
        command += ["--socket", str(self._socket.fileno())]
        pid = os.posix_spawn(sys.executable, command, os.environ, setpgroup=0)
        self._workers[pid] = number
        if self._signal is not None:  # it came meanwhile
            os.kill(pid, self._signal)

    def _end(self, received: int) -> None:
        """Let the workers close the port, which they share with this process."""
        self._signal = received
        self._socket.close()
        for pid in self._workers:
            os.kill(pid, received)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
