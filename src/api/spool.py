"""What is logged waits on this machine's disk until the bucket has it: bounded, and never twice.

All workers of a machine share the folder. Each holds a lock while it lives, and appends to files of its own, named
after their first prediction; what a dead worker left behind, the next to start sends.
"""

import fcntl
import logging
import os
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from src.api.packing import pack
from src.errors import StackError
from src.storage.prediction_log import choose_parts, name_part
from src.storage.reader import Reader

SIZE, AGE = 16 * 2**20, 60.0  # bytes and seconds after which a file is finished
HOUR = 3600 * 10**9
ENDING = ".jsonl"
SENT = "sent"  # its time is that of the last file that was sent
PAUSES = (1, 2, 4, 8)  # seconds between two tries
BEGIN = len(b'{"id":"')  # of a line, before its id
is_line = re.compile(rb'{"id":"([0-9a-f]{24})(?:-(\d+)","rows":(\d+))?').match
TAIL = 2**20  # more than the longest line

log = logging.getLogger("uvicorn.error")


@dataclass
class _Part:
    """A file that is appended to; all its predictions are of one hour."""

    path: Path
    hour: int
    since: float
    size: int = 0


class Spool:
    """The files of this worker; one thread calls :meth:`append` and :meth:`tend`, another sends."""

    def __init__(self, folder: Path, worker: str, most: int, on_drop: Callable[[str, int], None]) -> None:
        """Write to ``folder``, which may hold ``most`` bytes; what does not fit is told to ``on_drop``."""
        self.size = 0  # bytes of all workers' files when they were last looked at
        self.sent_at: float | None = None  # when any worker last sent a file, in seconds since 1970
        self.disk_error: str | None = None
        self.send_error: str | None = None
        self._folder, self._worker, self._most, self._on_drop = folder, worker, most, on_drop
        self._lock: int | None = None
        self._parts: dict[str, _Part] = {}  # by the process in their ids
        self._finished: deque[Path] = deque()
        self._news, self._is_over = threading.Event(), threading.Event()

    @property
    def seconds_since_sent(self) -> float | None:
        """Return how long ago any worker of this machine last sent a file; None where none did."""
        return None if self.sent_at is None else max(0.0, time.time() - self.sent_at)

    @property
    def error(self) -> str | None:
        """Say what keeps predictions from the disk, or from the bucket."""
        return self.disk_error or self.send_error

    def append(self, lines: Sequence[bytes], rows: int = 1) -> None:
        """Append lines of one process, in their order; each holds so many predictions."""
        if _hour(lines[0]) == _hour(lines[-1]):
            self._append(_hour(lines[0]), lines, rows)
        else:
            for hour, some in groupby(lines, _hour):
                self._append(hour, [*some], rows)

    def tend(self, is_last: bool = False) -> None:
        """Take the lock, measure the folder, and finish what is large or old; at the end, all."""
        try:
            self._own()
            self.size = sum(path.stat().st_size for path in self._folder.glob(f"*{ENDING}"))
            with suppress(FileNotFoundError):
                self.sent_at = (self._folder / SENT).stat().st_mtime
        except OSError as error:
            self._tell(error)
        now = time.monotonic()
        for process, part in [*self._parts.items()]:
            is_old = now - part.since > AGE and not self._finished  # while none can be sent, few files are better
            if is_last or is_old or part.size > SIZE:
                self._finish(process)

    def find(self, ids: Iterable[str]) -> set[str]:
        """Return those of these predictions that lie here."""
        wanted, found = set(ids), set[str]()
        for process in {one[16:24] for one in wanted}:
            of_process = {one for one in wanted if one[16:24] == process}
            names = [f"{path}.gz" for path in self._folder.glob(f"*-*{process}*{ENDING}") if _process(path) == process]
            for name in choose_parts(names, of_process):
                with suppress(FileNotFoundError), open(name.removesuffix(".gz"), "rb") as lines:
                    found.update(*(_pick(line, of_process) for line in lines))
        return found

    def send_on(self, connect: Callable[[], Reader]) -> None:
        """Send what is finished, until :meth:`end`; then try once more."""
        failures = 0
        while True:
            is_last = self._is_over.is_set()
            try:
                if failures == 0:
                    self._adopt()
                self._send_all(connect)
                failures, self.send_error = 0, None
            except Exception as error:  # the thread must outlive whatever it meets
                if not isinstance(error, StackError | OSError | subprocess.SubprocessError):
                    log.exception("sending predictions failed")
                if self.send_error != str(error):
                    log.warning("predictions are not sent: %s", error)
                failures, self.send_error = failures + 1, str(error)
            if is_last:
                return
            if failures:
                self._is_over.wait(PAUSES[min(failures, len(PAUSES)) - 1])
            else:
                self._news.wait()
                self._news.clear()

    def end(self) -> None:
        """Let :meth:`send_on` return after one more try."""
        self._is_over.set()
        self._news.set()

    def _append(self, hour: int, lines: Sequence[bytes], rows: int) -> None:
        process, size = lines[0][BEGIN + 16 : BEGIN + 24].decode(), sum(map(len, lines))
        part = self._parts.get(process)
        if part and part.hour != hour:
            self._finish(process)
            part = None
        if self.size + size > self._most:
            self._on_drop("limit", len(lines) * rows)
            return
        if part is None:
            path = self._folder / f"{self._worker}-{_id(lines[0])}{ENDING}"
            part = _Part(path, hour, time.monotonic())
        try:
            if self._lock is None:
                raise OSError(self.disk_error or "another worker has the lock")
            _write(part, lines, size)
        except OSError as error:
            self._tell(error)
            self._on_drop("disk", len(lines) * rows)
            return
        part.size += size
        self.size += size
        self._parts[process] = part
        self.disk_error = None

    def _finish(self, process: str) -> None:
        self._finished.append(self._parts.pop(process).path)
        self._news.set()

    def _tell(self, error: OSError) -> None:
        if self.disk_error != str(error):
            log.warning("predictions are not written: %s", error)
        self.disk_error = str(error)

    def _own(self) -> None:
        path = self._folder / f"{self._worker}.lock"
        if self._lock is not None and path.exists():
            return
        if self._lock is not None:  # somebody has deleted the folder
            os.close(self._lock)
            self._lock = None
            self._parts.clear()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock, self.disk_error = _lock(path), None

    def _adopt(self) -> None:
        """Take over what dead workers left; a last line that was cut short is no prediction."""
        names = {path.name for ending in (ENDING, ".lock") for path in self._folder.glob(f"*{ending}")}
        for worker in {name.partition("-")[0].removesuffix(".lock") for name in names} - {self._worker}:
            path = self._folder / f"{worker}.lock"
            if (lock := _lock(path)) is None:
                continue
            try:
                for file in sorted(self._folder.glob(f"{worker}-*{ENDING}")):
                    if _trim(file):
                        ours = self._folder / f"{self._worker}-{file.name.partition('-')[2]}"
                        self._finished.append(file.rename(ours))
                    else:
                        file.unlink()
                path.unlink()
            finally:
                os.close(lock)

    def _send_all(self, connect: Callable[[], Reader]) -> None:
        while self._finished:
            path = self._finished[0]
            try:
                packed = pack(path, is_urgent=self._is_over.is_set())
            except FileNotFoundError:
                if path.exists():
                    raise
            else:
                connect().put(name_part(_first(path)), packed)
                path.unlink(missing_ok=True)
                with suppress(OSError):
                    (self._folder / SENT).touch()
            self._finished.popleft()


def _write(part: _Part, lines: Sequence[bytes], size: int) -> None:
    """Append all lines or none."""
    file = os.open(part.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.writev(file, lines) < size:
            raise OSError("the disk is full")
    except OSError:
        os.ftruncate(file, part.size)
        if not part.size:
            part.path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _lock(path: Path) -> int | None:
    """Return the lock at ``path``; None where another process has it, or has deleted it meanwhile."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(lock).st_ino:
            return lock
    os.close(lock)
    return None


def _trim(path: Path) -> int:
    """Cut off what follows the last line that is whole; returns the bytes that are left."""
    with path.open("r+b") as file:
        start = max(0, file.seek(0, os.SEEK_END) - TAIL)
        file.seek(start)
        return file.truncate(start + file.read().rfind(b"\n") + 1)


def _hour(line: bytes) -> int:
    return int(line[BEGIN : BEGIN + 16], 16) // HOUR


def _id(line: bytes) -> str:
    return line[BEGIN:].partition(b'"')[0].decode()


def _pick(line: bytes, ids: Set[str]) -> Iterable[str]:
    """Yield those of the ids that a line is of."""
    if not (found := is_line(line)):
        return
    identifier = found[1].decode()
    if not found[2]:
        yield from {identifier} & ids
        return
    for one in ids:
        base, _, row = one.partition("-")
        if base == identifier and row and int(found[2]) <= int(row) < int(found[2]) + int(found[3]):
            yield one


def _first(path: Path) -> str:
    return path.name.removesuffix(ENDING).partition("-")[2]


def _process(path: Path) -> str:
    return _first(path)[16:24]
