"""The live release: one immutable object, replaced by one assignment when the champion changes."""

import fcntl
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from ctypes import CDLL
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from src.api.sandbox import try_release
from src.config import MAX_POINTER_BYTES
from src.core.linear import Linear
from src.core.onnx_model import PredictRow
from src.core.pointer import Pointer
from src.core.release import Files, Provenance, Release
from src.core.signature import Trusted
from src.core.wine import CLASSES, FEATURES, NAME
from src.errors import IntegrityError, MissingError, StackError, StoreError
from src.registry import CURRENT, read_pointer
from src.registry.signed import read_release, read_statement
from src.storage.bucket import DVC_PREFIX, Get
from src.storage.reader import Reader

log = logging.getLogger("uvicorn.error")
LATE = 3  # intervals after which what the last poll found is too old to be believed
TRY_AGAIN = 300.0  # seconds after which a release whose bytes are right and whose model failed is tried again
ROWS = 100  # for which the faster way to predict one must give the same answers
SHORTEST_LATE = 5.0  # seconds; taking a new release is a part of a poll


@dataclass(frozen=True)
class LiveRelease:
    """A verified release in memory, the pointer that named it, and its way to predict one row, for one thread."""

    pointer: Pointer
    release: Release
    predict_row: PredictRow

    @classmethod
    def load(cls, pointer: Pointer, files: Files) -> "LiveRelease":
        """Load a release that was tried, and that is of the table which requests are about.

        Raises:
            IntegrityError: it does not load, or knows other features or classes.

        """
        release = Release.load(files, tried=True)
        _check_table(release.provenance)
        return cls(pointer, release, release.model.bind_row(_try_rows(release.provenance)))

    @cached_property
    def id(self) -> str:
        """Return the release's id."""
        return self.pointer.id

    @cached_property
    def classes(self) -> list[str]:
        """Return the classes as answers name them."""
        return [str(label) for label in self.release.provenance.classes]

    @cached_property
    def ranges(self) -> list[tuple[float, float]]:
        """Return the lowest and highest value that training saw of each feature."""
        return [(feature.minimum, feature.maximum) for feature in self.release.provenance.features]

    @cached_property
    def linear(self) -> Linear | None:
        """Return the weights of a linear model; None of another."""
        seen = [(feature.minimum, feature.median, feature.maximum) for feature in self.release.provenance.features]
        return Linear.read(self.release.model, np.array(seen).T)

    @cached_property
    def promoted_at(self) -> float | None:
        """Return when it became the champion, in seconds since 1970; None where its pointer does not say."""
        try:
            return datetime.fromisoformat(self.pointer.meta["promotion"]["time"]).timestamp()
        except (KeyError, TypeError, ValueError, OverflowError):
            return None


@dataclass(frozen=True)
class Rejection:
    """Why a champion was not loaded; the id is None where the pointer itself is broken."""

    release: str | None
    reason: str


@dataclass(frozen=True)
class PollStatus:
    """What the last poll found: ``polled_at`` on the monotonic clock, in seconds."""

    polled_at: float | None = None
    store_error: str | None = None
    rejection: Rejection | None = None
    cache_error: str | None = None

    @property
    def age(self) -> float | None:
        """Return the seconds since the last poll ended; None before the first has."""
        return None if self.polled_at is None else time.monotonic() - self.polled_at


class Champion:
    """Follows ``registry/current.dvc``; ``live`` is what requests are answered from.

    The last good release is kept in ``cache`` under the same keys as in the bucket, the pointer written last; so is the
    one that it replaced, and nothing else.
    """

    def __init__(self, connect: Callable[[], Reader], cache: Path, seconds: float, trusted: Trusted) -> None:
        """Start with no release; :meth:`restore` and :meth:`poll`, every so many ``seconds``, find one.

        One of the ``trusted`` keys must have signed it. The first poll calls ``connect``, which takes longer than to
        start from disk.
        """
        self.live: LiveRelease | None = None
        self.on_reject: Callable[[], None] = lambda: None
        self.on_take: Callable[[str], None] = lambda _: None  # is told the release that serves from now on
        self._status = PollStatus()
        self._connect = connect
        self._cache = cache
        self._seconds = seconds
        self._trusted = trusted
        self._etag: str | None = None
        self._unkept: Mapping[str, bytes] = {}
        self._kept: set[str] = set()
        self._failed: tuple[str, float, str] | None = None  # md5, time and reason of the release that failed last

    @cached_property
    def _bucket(self) -> Reader:
        return self._connect()

    @property
    def status(self) -> PollStatus:
        """Return what the last poll found; where the next is late, that the store does not answer."""
        status = self._status
        late_after = max(LATE * self._seconds, SHORTEST_LATE)
        if status.store_error is None and status.age is not None and status.age > late_after:
            late = f"the last poll of the bucket ended {status.age:.0f} s ago, expected every {self._seconds:g} s"
            return replace(status, store_error=late)
        return status

    def restore(self) -> None:
        """Serve the last good release from disk, where there is one and it is complete."""
        try:
            pointer = read_pointer(self._read_cached(CURRENT, MAX_POINTER_BYTES))
            files, objects = self._fetch(self._read_cached, pointer)
            self.live, self._kept = LiveRelease.load(pointer, files), set(objects)
        except MissingError:
            return
        except StackError as error:
            log.warning("release on disk is rejected: %s", error)
        else:
            self.on_take(self.live.id)
            log.info("release %s restored from disk", self.live.id)

    def poll(self) -> None:
        """Read the champion's pointer once; load, verify and swap where it changed."""
        rejection, store_error = self._status.rejection, None
        try:
            if answer := self._bucket.get_if_changed(CURRENT, self._etag, MAX_POINTER_BYTES):
                with self._alone():
                    rejection = self._take(*answer)
                    self._keep()
        except IntegrityError as error:
            rejection = self._reject(Rejection(None, str(error)))
        except MissingError:
            store_error = None if self.live is None else f"{CURRENT} is gone from the bucket"
        except StoreError as error:
            store_error = str(error)
        if store_error and store_error != self._status.store_error:
            log.warning("%s; serving %s", store_error, self.live.id if self.live else "nothing")
        self._status = PollStatus(time.monotonic(), store_error, rejection, self._keep())

    @contextmanager
    def polling(self) -> Iterator[None]:
        """Poll again and again, in a thread, until the block ends."""
        stopped = threading.Event()

        def poll() -> None:
            stays = False
            while True:
                try:
                    self.poll()
                except Exception as error:  # the thread must outlive whatever it meets
                    log.exception("polling the champion failed")
                    self._status = replace(self._status, store_error=f"{type(error).__name__}: {error}")
                if not stays:
                    gc.freeze()  # what polling needs is loaded, and stays too
                    CDLL(None).malloc_trim(0)  # what loading took goes back: 2 MB
                    stays = True
                if stopped.wait(self._seconds):
                    return

        thread = threading.Thread(target=poll, name="champion-poll", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(timeout=self._seconds)

    def _take(self, content: bytes, etag: str | None) -> Rejection | None:
        pointer = None
        try:
            pointer = read_pointer(content)
            if self.live is None or self.live.pointer.md5 != pointer.md5:
                live = self._find_kept(pointer) or self._fetch_and_try(pointer)
            else:
                read_statement(pointer, self._trusted)
                live = replace(self.live, pointer=pointer)
        except (IntegrityError, MissingError) as error:
            return self._reject(Rejection(pointer.id if pointer else None, str(error)))
        if self.live is None or self.live.id != live.id:
            log.info("release %s replaces %s", live.id, self.live.id if self.live else "nothing")
        self.live, self._etag = live, etag
        self.on_take(live.id)
        self._unkept = {**self._unkept, CURRENT: content}  # its signature may be a new one for bytes that are on disk
        return None

    def _find_kept(self, pointer: Pointer) -> LiveRelease | None:
        """Load a release that is kept on disk: a worker of this machine has tried it, before or just now.

        One that failed as it was loaded is left to :meth:`_fetch_and_try`, which does not try it at each poll.
        """
        if self._failed and self._failed[0] == pointer.md5:
            return None
        try:
            files, objects = self._fetch(self._read_cached, pointer)
            live = LiveRelease.load(pointer, files)
        except StackError:
            return None
        self._unkept, self._kept = {}, set(objects)
        return live

    def _fetch_and_try(self, pointer: Pointer) -> LiveRelease:
        """Load a release after it was tried elsewhere; what failed once fails at once, until ``TRY_AGAIN`` is over."""
        files, objects = self._fetch(self._bucket.get, pointer)
        if self._failed and self._failed[0] == pointer.md5 and time.monotonic() - self._failed[1] < TRY_AGAIN:
            raise IntegrityError(self._failed[2])
        try:
            try_release(files)
            live = LiveRelease.load(pointer, files)
        except IntegrityError as error:
            self._failed = pointer.md5, time.monotonic(), str(error)
            raise
        self._unkept = objects
        return live

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let this machine's other workers wait until the block ends; where nothing can be kept, none need to."""
        with ExitStack() as stack:
            with suppress(OSError):
                self._cache.mkdir(parents=True, exist_ok=True)
                folder = os.open(self._cache, os.O_RDONLY)
                stack.callback(os.close, folder)
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield

    def _reject(self, rejection: Rejection) -> Rejection:
        self._etag = None  # so that the next poll tries again, even where the pointer returns to what it was
        if rejection != self._status.rejection:
            log.error("release %s is rejected: %s", rejection.release, rejection.reason)
            self.on_reject()
        return rejection

    def _keep(self) -> str | None:
        """Write the release to disk where that is yet to be done; returns why it could not be."""
        try:
            for key, content in self._unkept.items():
                path = self._cache / key
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f"{path.name}.{os.getpid()}")
                temporary.write_bytes(content)
                temporary.replace(path)
            self._prune()
        except OSError as error:
            if self._status.cache_error != str(error):
                log.warning("the release could not be kept on disk: %s", error)
            return str(error)
        self._unkept = {}
        return None

    def _prune(self) -> None:
        """Delete from disk what is neither of the release just kept nor of its predecessor."""
        if not self._unkept.keys() - {CURRENT}:
            return
        kept = set(self._unkept) - {CURRENT}
        for path in (self._cache / DVC_PREFIX).rglob("*"):
            if path.is_file() and path.relative_to(self._cache).as_posix() not in kept | self._kept:
                path.unlink()
        self._kept = kept

    def _fetch(self, get: Get, pointer: Pointer) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Return a signed release's files by name, and the objects that they were read from by key."""
        objects: dict[str, bytes] = {}

        def remember(key: str, limit: int) -> bytes:
            objects[key] = get(key, limit)
            return objects[key]

        return read_release(remember, pointer, self._trusted), objects

    def _read_cached(self, key: str, limit: int) -> bytes:
        try:
            with (self._cache / key).open("rb") as file:
                return file.read(limit)
        except OSError as error:
            raise MissingError(f"{self._cache} lacks {key}") from error


def _check_table(provenance: Provenance) -> None:
    if not provenance.is_of_this_table:
        theirs = {feature.name for feature in provenance.features} | set(provenance.classes)
        ours = {feature.name for feature in FEATURES} | set(CLASSES)
        differing = ", ".join(sorted(map(str, theirs ^ ours)))[:200] or "the order of its features"
        raise IntegrityError(
            f"it is of another table than the {NAME}'s, by {differing}; update the code where it is "
            "the older one, else promote a release of this table, which the daily run makes"
        )


def _try_rows(provenance: Provenance) -> np.ndarray:
    """Return rows of what training saw, mixed and multiplied, and of the extremes of requests."""
    seen = np.array([(one.minimum, one.median, one.maximum) for one in provenance.features]).T
    chance = Random(0)  # numpy's takes 3 MB
    mixed = np.array([[chance.choice(values) for values in seen.T.tolist()] for _ in range(ROWS)])
    return np.vstack([seen, mixed, mixed * 2, -mixed, np.zeros_like(seen[:1]), np.full_like(seen[:1], 1e6)])
