"""Requests that nobody sends in good faith, each on a connection of its own: whether the API answers or hangs up."""

import json
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from src.core.wine import EXAMPLE

PATIENCE = 30  # seconds; a request has 10 for its head and 10 for its body
AT_ONCE = 8  # connections
RARE = 200  # one request in so many is large, and one slow
ROUTES = ("/predict", "/predict/batch", "/v2/models/wine/infer", "/explain", "/labels")
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
LAST = HEAD + b"connection: close\r\n"  # hangs up after its answer
GOOD = json.dumps(EXAMPLE).encode()
VALUES: tuple[object, ...] = (None, True, "", "1e999", -1, 1e308, [], {}, [[1]], "\ud800", 2**70, "x" * 1000)
Request = Callable[[random.Random, socket.socket], None]


def wrong_types(chance: random.Random, connection: socket.socket) -> None:
    """Send a wine with a value of another type, or one field too many or too few."""
    row: dict[str, object] = dict(EXAMPLE)
    row[chance.choice([*EXAMPLE, "other"])] = chance.choice(VALUES)
    if chance.random() < 0.3:
        del row[chance.choice(list(EXAMPLE))]
    _send(chance, connection, json.dumps(chance.choice((row, [row], {"inputs": [row]}))).encode())


def deep_nesting(chance: random.Random, connection: socket.socket) -> None:
    """Send JSON that is nested thousands of times."""
    depth = chance.randrange(1000, 30_000)
    _send(chance, connection, b"[" * depth + b"]" * depth)


def garbage(chance: random.Random, connection: socket.socket) -> None:
    """Send random bytes, as a body or as a request."""
    content = chance.randbytes(chance.randrange(1, 2000))
    if chance.random() < 0.5:
        _send(chance, connection, content)
    else:
        connection.sendall(content + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)


def too_large(chance: random.Random, connection: socket.socket) -> None:
    """Promise 100 MB, and send what is taken of them."""
    connection.sendall(LAST + b"content-length: 100000000\r\n\r\n")
    for _ in range(100):
        connection.sendall(bytes(1_000_000))


def many_headers(chance: random.Random, connection: socket.socket) -> None:
    """Send thousands of headers."""
    lines = b"".join(b"x-%d: %d\r\n" % (number, number) for number in range(chance.randrange(1000, 9000)))
    connection.sendall(LAST + lines + b"content-length: %d\r\n\r\n%s" % (len(GOOD), GOOD))


def chunks(chance: random.Random, connection: socket.socket) -> None:
    """Send a body in chunks of a byte, some of them with a wrong size."""
    connection.sendall(LAST + b"transfer-encoding: chunked\r\n\r\n")
    for byte in GOOD:
        connection.sendall((b"1" if chance.random() < 0.99 else b"zz") + b"\r\n%c\r\n" % byte)
    connection.sendall(b"0\r\n\r\n")


def drip(chance: random.Random, connection: socket.socket) -> None:
    """Send a byte in its chunk now and then, until the server has had enough."""
    connection.sendall(LAST + b"transfer-encoding: chunked\r\n\r\n")
    connection.settimeout(0.5)
    for byte in GOOD:
        connection.sendall(b"1\r\n%c\r\n" % byte)
        with suppress(TimeoutError):
            connection.recv(1, socket.MSG_PEEK)  # an answer
            break
    connection.settimeout(PATIENCE)


def pipelining(chance: random.Random, connection: socket.socket) -> None:
    """Send many requests at once without waiting for an answer, one of them broken."""
    one = HEAD + b"content-length: %d\r\n\r\n%s" % (len(GOOD), GOOD)
    many = [one] * chance.randrange(2, 40)
    many[chance.randrange(len(many))] = HEAD + b"content-length: 2\r\n\r\n{]"
    connection.sendall(b"".join(many))
    connection.shutdown(socket.SHUT_WR)


def half(chance: random.Random, connection: socket.socket) -> None:
    """Hang up in the midst of a request."""
    request = HEAD + b"content-length: %d\r\n\r\n%s" % (len(GOOD), GOOD)
    connection.sendall(request[: chance.randrange(1, len(request))])
    connection.shutdown(socket.SHUT_WR)


KINDS: tuple[Request, ...] = (wrong_types, deep_nesting, garbage, many_headers, chunks, pipelining, half)


def attack(port: int, count: int, chance: random.Random) -> list[str]:
    """Send so many hostile requests, several at once, few of them of 100 MB or slow; return what was wrong."""
    rare = {0: too_large, RARE // 2: drip}
    kinds = [rare.get(number % RARE) or chance.choice(KINDS) for number in range(count)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(
            lambda kind, seed: _try(port, kind, random.Random(seed)), kinds, chance.sample(range(2**40), count)
        )
        return [wrong for wrong in found if wrong]


def _try(port: int, kind: Request, chance: random.Random) -> str | None:
    """Return what was wrong with the answer to a hostile request."""
    start = time.monotonic()
    try:
        answer = _answer(port, kind, chance)
    except OSError as error:
        return f"{kind.__name__}: no connection: {error}"
    if b"HTTP/1.1 5" in answer:
        return f"{kind.__name__}: {answer[:60]!r}"
    if kind is wrong_types and not answer:
        return f"{kind.__name__}: no answer"
    return f"{kind.__name__}: no end after {PATIENCE} s" if time.monotonic() - start > PATIENCE else None


def _answer(port: int, kind: Request, chance: random.Random) -> bytes:
    """Return what came until the server hung up; raises ``OSError`` where it lets nobody in."""
    content = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        try:
            kind(chance, connection)
            while part := connection.recv(2**16):
                content += part
        except OSError:  # it hung up
            pass
    return content


def _send(chance: random.Random, connection: socket.socket, body: bytes) -> None:
    head = LAST.replace(b"/predict", chance.choice(ROUTES).encode(), 1)
    connection.sendall(head + b"content-length: %d\r\n\r\n%s" % (len(body), body))
