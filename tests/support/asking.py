"""Many connections that ask for predictions without a pause, and keep each answer with the time that it took.

They are a process of their own, so that nothing else that a test does shows in the times.
"""

import asyncio
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

PAUSE = 0.02  # seconds between two times that the test hears of what came

Answer = tuple[int, bytes | Exception, float]


@dataclass
class Asking:
    """What came so far: the row that was asked for, the answer (or what failed), and the seconds until it was there."""

    answers: list[Answer] = field(default_factory=list)
    is_over: bool = False

    def wait(self, number: int) -> None:
        """Wait until so many more answers are there."""
        end, deadline = len(self.answers) + number, time.monotonic() + 300
        while len(self.answers) < end:
            assert time.monotonic() < deadline and not self.is_over, f"{len(self.answers)} of {end} answers"
            time.sleep(PAUSE)

    def p99(self, start: int = 0) -> float:
        """Return the milliseconds within which 99 of 100 answers came, from the one numbered ``start`` on."""
        seconds = sorted(one[2] for one in self.answers[start:])
        return seconds[len(seconds) * 99 // 100] * 1000

    def _take(self, pipe: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                self.answers.extend(pipe.recv())
        self.is_over = True


@contextmanager
def asking(port: int, rows: Sequence[dict[str, Any]], connections: int = 32) -> Iterator[Asking]:
    """Ask for the rows in turn, over so many connections, until the block ends."""
    context, found = multiprocessing.get_context("spawn"), Asking()
    ours, theirs = context.Pipe()
    process = context.Process(target=_ask, args=(port, rows, connections, theirs), daemon=True)
    process.start()
    theirs.close()
    thread = threading.Thread(target=found._take, args=(ours,))
    thread.start()
    try:
        yield found
    finally:
        with suppress(OSError):  # it has ended before
            ours.send(True)
        thread.join()
        process.join()
    assert process.exitcode == 0, "those who ask could not connect"


def _ask(port: int, rows: Sequence[dict[str, Any]], connections: int, pipe: Connection) -> None:
    head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: "
    requests = [f"{head}{len(body)}\r\n\r\n{body}".encode() for body in map(json.dumps, rows)]
    found: list[Answer] = []
    number, is_over = count(), False

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not is_over:
            row, start = next(number) % len(rows), time.perf_counter()
            try:
                writer.write(requests[row])
                answer: bytes | Exception
                answer, is_last = await _read(reader)
            except (OSError, EOFError, ValueError) as error:
                answer, is_last = error, True
            found.append((row, answer, time.perf_counter() - start))
            if is_last:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    async def ask_all() -> None:
        nonlocal is_over
        asked = asyncio.gather(*(ask() for _ in range(connections)))
        while not asked.done():
            await asyncio.sleep(PAUSE)
            pipe.send(found[:])
            found.clear()
            is_over = is_over or bool(pipe.poll() and pipe.recv())  # what is not received would reset the pipe
        pipe.send(found)
        await asked

    asyncio.run(ask_all())


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """Return the body of an answer, and whether its connection ends with it."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head.decode())
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length)), b"\r\nconnection: close" in head
