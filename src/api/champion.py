"""The live release: one immutable object, replaced by one assignment when the champion changes."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from src.api.sandbox import try_release
from src.config import MAX_POINTER_BYTES, RELEASE_LIMITS
from src.core.pointer import Pointer
from src.core.release import Files, Release
from src.core.wine import CLASSES, FEATURES, NAME
from src.errors import IntegrityError, MissingError, StackError, StoreError
from src.registry import CURRENT, read_pointer
from src.storage.bucket import DVC_PREFIX, Bucket, Get, read_files

log = logging.getLogger("uvicorn.error")
LATE = 3  # intervals after which what the last poll found is too old to be believed
TRY_AGAIN = 300.0  # seconds after which a release whose bytes are right and whose model failed is tried again
SHORTEST_LATE = 5.0  # seconds; taking a new release is a part of a poll


@dataclass(frozen=True)
class LiveRelease:
    """A verified release in memory, and the pointer that named it."""

    pointer: Pointer
    release: Release

    @property
    def id(self) -> str:
        """Return the release's id."""
        return self.pointer.id


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

    def __init__(self, bucket: Bucket, cache: Path, seconds: float) -> None:
        """Start with no release; :meth:`restore` and :meth:`poll`, every so many ``seconds``, find one."""
        self.live: LiveRelease | None = None
        self._status = PollStatus()
        self._bucket = bucket
        self._cache = cache
        self._seconds = seconds
        self._etag: str | None = None
        self._unkept: Mapping[str, bytes] = {}
        self._kept: set[str] = set()
        self._failed: tuple[str, float, str] | None = None  # md5, time and reason of the release that failed last

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
            files, objects = _fetch(self._read_cached, pointer)
            self.live, self._kept = LiveRelease(pointer, _load(files)), set(objects)
        except MissingError:
            return
        except StackError as error:
            log.warning("release on disk is rejected: %s", error)
        else:
            log.info("release %s restored from disk", self.live.id)

    def poll(self) -> None:
        """Read the champion's pointer once; load, verify and swap where it changed."""
        rejection, store_error = self._status.rejection, None
        try:
            if answer := self._bucket.get_if_changed(CURRENT, self._etag, MAX_POINTER_BYTES):
                rejection = self._take(*answer)
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
            while True:
                try:
                    self.poll()
                except Exception as error:  # the thread must outlive whatever it meets
                    log.exception("polling the champion failed")
                    self._status = replace(self._status, store_error=f"{type(error).__name__}: {error}")
                if stopped.wait(self._seconds):
                    return

        thread = threading.Thread(target=poll, name="champion-poll", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(timeout=self._seconds)

    def _take(self, content: bytes, etag: str) -> Rejection | None:
        pointer = None
        try:
            pointer = read_pointer(content)
            if self.live is None or self.live.pointer.md5 != pointer.md5:
                files, objects = _fetch(self._bucket.get, pointer)
                live = LiveRelease(pointer, self._try(pointer.md5, files))
                self._unkept = objects | {CURRENT: content}
            else:
                live = replace(self.live, pointer=pointer)
        except (IntegrityError, MissingError) as error:
            return self._reject(Rejection(pointer.id if pointer else None, str(error)))
        if self.live is None or self.live.id != live.id:
            log.info("release %s replaces %s", live.id, self.live.id if self.live else "nothing")
        self.live, self._etag = live, etag
        return None

    def _try(self, md5: str, files: Files) -> Release:
        """Load a release after it was tried elsewhere; what failed once fails at once, until ``TRY_AGAIN`` is over."""
        if self._failed and self._failed[0] == md5 and time.monotonic() - self._failed[1] < TRY_AGAIN:
            raise IntegrityError(self._failed[2])
        try:
            try_release(files)
            return _load(files)
        except IntegrityError as error:
            self._failed = md5, time.monotonic(), str(error)
            raise

    def _reject(self, rejection: Rejection) -> Rejection:
        self._etag = None  # so that the next poll tries again, even where the pointer returns to what it was
        if rejection != self._status.rejection:
            log.error("release %s is rejected: %s", rejection.release, rejection.reason)
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
        if not self._unkept:
            return
        kept = set(self._unkept) - {CURRENT}
        for path in (self._cache / DVC_PREFIX).rglob("*"):
            if path.is_file() and path.relative_to(self._cache).as_posix() not in kept | self._kept:
                path.unlink()
        self._kept = kept

    def _read_cached(self, key: str, limit: int) -> bytes:
        try:
            with (self._cache / key).open("rb") as file:
                return file.read(limit)
        except OSError as error:
            raise MissingError(f"{self._cache} lacks {key}") from error


def _load(files: Files) -> Release:
    """Load a release that was tried, and that is of the table which requests are about.

    Raises:
        IntegrityError: it does not load, or knows other features or classes.

    """
    release = Release.load(files, tried=True)
    if not release.provenance.is_of_this_table:
        theirs = {feature.name for feature in release.provenance.features} | set(release.provenance.classes)
        ours = {feature.name for feature in FEATURES} | set(CLASSES)
        differing = ", ".join(sorted(map(str, theirs ^ ours)))[:200] or "the order of its features"
        raise IntegrityError(
            f"it is of another table than the {NAME}'s, by {differing}; update the code where it is "
            "the older one, else promote a release of this table, which the daily run makes"
        )
    return release


def _fetch(get: Get, pointer: Pointer) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return a release's files by name, and the objects that they were read from by key."""
    objects: dict[str, bytes] = {}

    def remember(key: str, limit: int) -> bytes:
        objects[key] = get(key, limit)
        return objects[key]

    return dict(read_files(remember, pointer, RELEASE_LIMITS)), objects
