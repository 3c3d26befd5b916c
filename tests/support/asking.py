"""Many connections that ask for predictions without a pause, and keep each answer with the time that it took."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any


@dataclass
class Asking:
    """What came so far: the row that was asked for, the answer (or what failed), and the seconds until it was there."""

    answers: list[tuple[int, bytes | Exception, float]] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def wait(self, number: int) -> None:
        """Wait until so many more answers are there."""
        end, deadline = len(self.answers) + number, time.monotonic() + 300
        while len(self.answers) < end:
            assert time.monotonic() < deadline, f"{len(self.answers)} of {end} answers"
            time.sleep(0.01)

    def p99(self, start: int = 0) -> float:
        """Return the milliseconds within which 99 of 100 answers came, from the one numbered ``start`` on."""
        seconds = sorted(one[2] for one in self.answers[start:])
        return seconds[len(seconds) * 99 // 100] * 1000


@contextmanager
def asking(port: int, rows: Sequence[dict[str, Any]], connections: int = 32) -> Iterator[Asking]:
    """Ask for the rows in turn, over so many connections, until the block ends."""
    found, number = Asking(), count()
    head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    requests = [f"{head}{len(body)}\r\n\r\n{body}".encode() for body in map(json.dumps, rows)]

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not found.is_over.is_set():
            row, start = next(number) % len(rows), time.perf_counter()
            try:
                writer.write(requests[row])
                answer: bytes | Exception
                answer, is_last = await _read(reader)
            except (OSError, EOFError, ValueError) as error:
                answer, is_last = error, True
            found.answers.append((row, answer, time.perf_counter() - start))
            if is_last:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    async def ask_all() -> None:
        await asyncio.gather(*(ask() for _ in range(connections)))

    thread, interval = threading.Thread(target=asyncio.run, args=(ask_all(),)), sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # else the rest of the test would show in the times
    thread.start()
    try:
        yield found
    finally:
        found.is_over.set()
        thread.join()
        sys.setswitchinterval(interval)


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """Return the body of an answer, and whether its connection ends with it."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head.decode())
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length)), b"\r\nconnection: close" in head
