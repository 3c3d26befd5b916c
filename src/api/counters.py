"""Whole numbers by name, in a file of a fixed size that other processes read while one adds to it.

The first part holds the numbers, the second the names, which end where the first empty one stands. To add takes no
lock: one thread of one process does, and whoever reads finds each number as it was a moment ago.
"""

import mmap
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

MOST = 16_384  # names; a release a day, with its classes, fills it in five years
LONGEST = 120  # bytes of a name
SIZE = MOST * (8 + LONGEST)  # of which the disk holds what was written
BETWEEN = "\x1f"

Key = tuple[str | int, ...]


class Counters:
    """The numbers of this process; those of others are read with :func:`read_counters`."""

    def __init__(self, path: Path | None = None) -> None:
        """Go on where the file at ``path`` ended; without one, start from zero, in memory alone."""
        if path is None:
            self._map = mmap.mmap(-1, SIZE)
        else:
            with path.open("a+b") as file:
                file.truncate(SIZE)
                self._map = mmap.mmap(file.fileno(), SIZE)
        self._numbers = memoryview(self._map)[: MOST * 8].cast("q")
        self._slots: dict[Key, int] = {}
        self._used = dict(_list_names(self._map))

    def add(self, key: Key, number: int = 1) -> None:
        """Add to what ``key`` names."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self._find(BETWEEN.join(map(str, key)).encode()[:LONGEST])
        self._numbers[slot] += number

    def put(self, key: Key, number: int) -> None:
        """Let ``key`` name this number."""
        self.add(key, 0)
        self._numbers[self._slots[key]] = number

    def adder(self, key: Key) -> Callable[..., None]:
        """Return what adds to ``key``, for another thread, which may add to nothing else."""
        self.add(key, 0)
        return partial(self.add, key)

    def setter(self, key: Key) -> Callable[[int], None]:
        """Return what lets ``key`` name a number, for another thread, which may change nothing else."""
        self.add(key, 0)
        return partial(self.put, key)

    def items(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Yield the names and numbers."""
        return _items(self._map)

    def _find(self, name: bytes) -> int:
        """Return the place of a name; where none is left, the first that there was."""
        slot = self._used.setdefault(name, len(self._used))
        if slot >= MOST:
            return 0
        start = MOST * 8 + slot * LONGEST
        self._map[start : start + LONGEST] = name.ljust(LONGEST, b"\0")
        return slot


def read_counters(path: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the names and numbers in a file that another process adds to."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ) as content:
        yield from _items(content)


def _items(content: mmap.mmap) -> Iterator[tuple[tuple[str, ...], int]]:
    for name, slot in _list_names(content):
        number = int.from_bytes(content[slot * 8 : slot * 8 + 8], sys.byteorder, signed=True)
        yield tuple(name.decode(errors="replace").split(BETWEEN)), number


def _list_names(content: mmap.mmap) -> Iterator[tuple[bytes, int]]:
    for slot in range(MOST):
        start = MOST * 8 + slot * LONGEST
        if not (name := content[start : start + LONGEST].rstrip(b"\0")):
            return
        yield name, slot
