"""What was counted until each of the last sixty minutes, so that whoever asks can be told of the last hour.

Workers share a folder: the first of them to reach a minute writes what all have counted, and each reads it.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson

from src.api.telemetry import Totals

log = logging.getLogger("uvicorn.error")
MINUTE = 60  # seconds
MINUTES = 60


class LastHour:
    """The totals at the beginning of each minute since the start, of the last hour at most."""

    def __init__(self, total: Callable[[], Totals], counters: Path | None = None) -> None:
        """Keep what ``total`` returns: beside the ``counters`` of this worker, or alone in memory."""
        self._total = total
        self._folder = counters.parent / "minutes" if counters else None
        self._kept: dict[int, bytes] = {}  # by second

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Take the totals now, and at each full minute until the block ends."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def read(self, now: int) -> list[tuple[int, Totals]]:
        """Return the seconds since 1970 and the totals of then, oldest first; the last are those of now."""
        kept = self._kept
        if self._folder:
            kept = {int(path.name): path.read_bytes() for path in self._folder.iterdir() if path.name.isdecimal()}
        recent = [(when, orjson.loads(kept[when])) for when in sorted(kept) if now - MINUTES * MINUTE <= when < now]
        return [*recent, (now, self._total())]

    def take(self, now: int) -> None:
        """Keep the totals of now, where no worker has kept those of this minute, and forget what is older than an hour.

        Raises:
            OSError: the folder takes nothing.

        """
        content, oldest = orjson.dumps(self._total()), now - (MINUTES + 1) * MINUTE
        if self._folder is None:
            self._kept = {when: one for when, one in self._kept.items() if when >= oldest} | {now: content}
            return
        self._folder.mkdir(exist_ok=True)
        known = [path for path in self._folder.iterdir() if path.name.isdecimal()]
        if not any(int(path.name) // MINUTE == now // MINUTE for path in known):
            unfinished = self._folder / f".{os.getpid()}"
            unfinished.write_bytes(content)
            unfinished.replace(self._folder / str(now))
        for path in known:
            if int(path.name) < oldest:
                path.unlink(missing_ok=True)

    async def _watch(self) -> None:
        while True:
            try:
                self.take(int(time.time()))
            except OSError as error:
                log.warning("what the last minute counted could not be kept: %s", error)
            await asyncio.sleep(MINUTE - time.time() % MINUTE)
