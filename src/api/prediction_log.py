"""Each answered wine is one line of the prediction log; a thread takes the lines to disk, so that no request waits."""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from random import random
from typing import Any

import numpy as np
import orjson

from src.api.champion import LiveRelease
from src.api.logs import REQUEST_ID
from src.api.spool import Spool
from src.core.prediction_record import FIELDS, encode
from src.storage.reader import Reader

HEADER = "x-prediction-id"  # of batches
PROCESS = secrets.token_hex(4)  # ids of two processes differ in it
MOST_PENDING = 32 * 2**20  # bytes in memory; what comes faster than it is written is dropped
AT_ONCE = 1000  # lines that one system call may write
ROWS, PAUSE = 1024, 0.006  # of a batch that are spelt at once, and the seconds until the next, which requests have

log = logging.getLogger("uvicorn.error")


def new_id(process: str = PROCESS) -> str:
    """Return an id for a prediction, greater than those before."""
    return f"{time.time_ns():016x}{process}"


@dataclass(frozen=True)
class _Rows:
    """Rows of a batch: values (rows, features) of float32, and what was answered."""

    batch: str
    first: int
    about: Mapping[str, Any]
    values: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray

    @property
    def size(self) -> int:
        return self.values.nbytes + self.labels.nbytes + self.probabilities.nbytes

    def spell(self, start: int) -> bytes:
        """Return the line of some rows; orjson spells a float32 as short as it is."""
        some = slice(start, start + ROWS)
        line = {"id": f"{self.batch}-{self.first + start}", "rows": len(self.labels[some]), **self.about}
        for name in ("values", "labels", "probabilities"):
            line[name] = np.ascontiguousarray(getattr(self, name)[some])
        return orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"


class PredictionLog:
    """What was answered and is not on disk yet: the event loop's thread adds, another takes."""

    def __init__(
        self, connect: Callable[[], Reader], spool: Spool, share: float, on_drop: Callable[[str, int], None]
    ) -> None:
        """Log this share of the requests; what finds no room in memory is told to ``on_drop``.

        The first that is sent calls ``connect``.
        """
        self.spool, self._connect = spool, connect
        self._share, self._on_drop = share, on_drop
        self._lines: list[bytes] = []
        self._rows: deque[_Rows] = deque()
        self._free: list[str] = []  # what stands for the process in ids of batches, where no batch uses it now
        self._added = self._taken = 0  # bytes, each counted by one thread alone
        self._stopped = threading.Event()

    @cached_property
    def store(self) -> Reader:
        """Return the bucket."""
        return self._connect()

    @property
    def pending(self) -> int:
        """Return the bytes that the bucket lacks, as far as this worker knows."""
        return self._added - self._taken + self.spool.size

    def add(self, answer: bytes, values: Sequence[float], request_id: bytes, body: bytes = b"") -> None:
        """Keep what ``/predict`` answered for these values; where its body was plain, it is kept as it was sent."""
        if random() >= self._share:
            return
        if self._added - self._taken > MOST_PENDING:
            self._on_drop("memory", 1)
            return
        if not body:
            body = encode(dict(zip(FIELDS, values, strict=True)))
        line = b"\t".join((answer, body.translate(None, b"\t\r\n"), request_id, b"\n"))
        self._lines.append(line)
        self._added += len(line)

    @contextmanager
    def batch(self) -> Iterator["Batch"]:
        """Open the log for the rows of one request, whose ids no other uses until the block ends."""
        process = self._free.pop() if self._free else secrets.token_hex(4)
        try:
            yield Batch(self, new_id(process), random() < self._share)
        finally:
            self._free.append(process)

    def add_rows(self, rows: _Rows) -> None:
        """Keep rows of a batch."""
        if self._added - self._taken > MOST_PENDING:
            self._on_drop("memory", len(rows.labels))
        else:
            self._rows.append(rows)
            self._added += rows.size

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        """Write and send until the block ends, and then for so many seconds at most."""
        writer = threading.Thread(target=self._write_on, name="predictions-write", daemon=True)
        sender = threading.Thread(
            target=self.spool.send_on, args=(lambda: self.store,), name="predictions-send", daemon=True
        )
        threads = (writer, sender) if self._share else ()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            deadline = time.monotonic() + seconds
            self._stopped.set()
            for thread in threads:
                thread.join(timeout=max(0, deadline - time.monotonic()))

    def _write_on(self) -> None:
        is_last = False
        while not is_last:
            begun = time.monotonic()
            is_last = self._stopped.is_set()
            try:
                self.spool.tend()
                self._write_lines()
                self._write_rows(begun + 1, PAUSE * (not is_last))
            except Exception:  # the thread must outlive whatever it meets
                log.exception("writing predictions failed")
            self._stopped.wait(max(0.01, begun + 1 - time.monotonic()))
        self.spool.tend(is_last=True)
        self.spool.end()

    def _write_lines(self) -> None:
        for _ in range(len(self._lines) // AT_ONCE + 1):
            if some := self._lines[:AT_ONCE]:
                del self._lines[: len(some)]
                self.spool.append(some)
                self._taken += sum(map(len, some))

    def _write_rows(self, deadline: float, pause: float) -> None:
        """Spell and write rows, and leave most of the time to requests."""
        while self._rows:
            rows = self._rows[0]
            for start in range(0, len(rows.labels), ROWS):
                self.spool.append([rows.spell(start)], len(rows.labels[start : start + ROWS]))
                if pause:
                    time.sleep(pause)
                if time.monotonic() > deadline:
                    self._write_lines()
                    self.spool.tend()
                    deadline += 1
            self._rows.popleft()
            self._taken += rows.size


class Batch:
    """The rows of one request, numbered from 0."""

    def __init__(self, log_: PredictionLog, identifier: str, is_logged: bool) -> None:
        """Begin with none."""
        self.id = identifier
        self._log, self._is_logged, self._count = log_, is_logged, 0

    def add(self, live: LiveRelease, route: str, values: np.ndarray, answer: tuple[np.ndarray, np.ndarray]) -> None:
        """Keep rows (rows, features) and their answer: labels and probabilities."""
        if not self._is_logged:
            return
        about = {"request_id": REQUEST_ID.get() or "", "route": route, "release": live.id, "classes": live.classes}
        self._log.add_rows(_Rows(self.id, self._count, about, values, *answer))
        self._count += len(values)
