"""The live release: one immutable object, replaced by one assignment when the champion changes."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from src.bucket import Bucket, read_files
from src.errors import IntegrityError, MissingError, StackError, StoreError
from src.pointer import Pointer
from src.registry import CURRENT
from src.release import Release

log = logging.getLogger("uvicorn.error")


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
class Refusal:
    """Why a champion was not loaded; the id is None where the pointer itself is broken."""

    release: str | None
    reason: str


@dataclass(frozen=True)
class Watch:
    """What the last look found: ``looked_at`` on the monotonic clock, in seconds."""

    looked_at: float | None = None
    store_error: str | None = None
    refusal: Refusal | None = None


class Champion:
    """Follows ``registry/current.dvc``; ``live`` is what requests are answered from.

    The last good release is kept in ``cache`` under the same keys as in the bucket, the pointer written last.
    """

    def __init__(self, bucket: Bucket, cache: Path) -> None:
        """Start with no release; :meth:`restore` and :meth:`look` find one."""
        self.live: LiveRelease | None = None
        self.watch = Watch()
        self._bucket = bucket
        self._cache = cache
        self._etag: str | None = None

    def restore(self) -> None:
        """Serve the last good release from disk, where there is one and it is whole."""
        try:
            self.live, _ = _load(self._read_cached, Pointer.from_yaml(self._read_cached(CURRENT)))
        except MissingError:
            return
        except StackError as error:
            log.warning("release on disk is refused: %s", error)
        else:
            log.info("release %s restored from disk", self.live.id)

    def look(self) -> None:
        """Look at the champion's pointer once; load, verify and swap where it changed."""
        refusal, store_error = self.watch.refusal, None
        try:
            if answer := self._bucket.get_if_changed(CURRENT, self._etag):
                refusal = self._take(*answer)
        except MissingError:
            store_error = None if self.live is None else f"{CURRENT} is gone from the bucket"
        except StoreError as error:
            store_error = str(error)
        if store_error and store_error != self.watch.store_error:
            log.warning("%s; serving %s", store_error, self.live.id if self.live else "nothing")
        self.watch = Watch(time.monotonic(), store_error, refusal)

    @contextmanager
    def watched(self, seconds: float) -> Iterator[None]:
        """Look every so many seconds, in a thread, until the block ends."""
        stopped = threading.Event()

        def watch() -> None:
            while True:
                try:
                    self.look()
                except Exception as error:  # the watcher must outlive whatever it meets
                    log.exception("looking at the champion failed")
                    self.watch = replace(self.watch, store_error=f"{type(error).__name__}: {error}")
                if stopped.wait(seconds):
                    return

        thread = threading.Thread(target=watch, name="champion-watcher", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join(timeout=seconds)

    def _take(self, content: bytes, etag: str) -> Refusal | None:
        pointer = None
        try:
            pointer = Pointer.from_yaml(content)
            if self.live is None or self.live.pointer.md5 != pointer.md5:
                live, objects = _load(self._bucket.get, pointer)
                self._keep(objects | {CURRENT: content})
            else:
                live = replace(self.live, pointer=pointer)
        except (IntegrityError, MissingError) as error:
            return self._refuse(Refusal(pointer.id if pointer else None, str(error)))
        if self.live is None or self.live.id != live.id:
            log.info("release %s replaces %s", live.id, self.live.id if self.live else "nothing")
        self.live, self._etag = live, etag
        return None

    def _refuse(self, refusal: Refusal) -> Refusal:
        self._etag = None  # so that the next look tries again: the bytes may be mended under the same pointer
        if refusal != self.watch.refusal:
            log.error("release %s is refused: %s", refusal.release, refusal.reason)
        return refusal

    def _keep(self, objects: Mapping[str, bytes]) -> None:
        try:
            for key, content in objects.items():
                path = self._cache / key
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f"{path.name}.{os.getpid()}")
                temporary.write_bytes(content)
                temporary.replace(path)
        except OSError as error:
            log.warning("the release could not be kept on disk: %s", error)

    def _read_cached(self, key: str) -> bytes:
        try:
            return (self._cache / key).read_bytes()
        except OSError as error:
            raise MissingError(f"{self._cache} lacks {key}") from error


def _load(get: Callable[[str], bytes], pointer: Pointer) -> tuple[LiveRelease, dict[str, bytes]]:
    objects: dict[str, bytes] = {}

    def remember(key: str) -> bytes:
        objects[key] = get(key)
        return objects[key]

    return LiveRelease(pointer, Release.load(dict(read_files(remember, pointer)))), objects
