"""Rows as an Arrow IPC stream, batch by batch, and the predictions for them in the same form."""

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import nanoarrow as na
import numpy as np
from nanoarrow.ipc import InputStream, StreamWriter

from src.api.rows import ARROW, RowError, find_columns, list_faults
from src.core.prediction_record import ANSWER
from src.core.wine import FEATURES

CONTINUES = 0xFFFFFFFF
HEAD = 8  # bytes: a mark, and the length of the metadata
MOST_METADATA = 2**20
NUMBERS = frozenset("cCsSiIlLfg")  # as Arrow spells them: whole numbers, float32 and float64


class ArrowReader:
    """Finds record batches in the parts of a body: messages are framed here, nanoarrow reads them."""

    def __init__(self, most: int) -> None:
        """Expect a schema; no batch may have more than ``most`` bytes."""
        self._most = most
        self._rest = bytearray()  # of a message that is not complete
        self._needed = 0  # bytes that must be there before the next step
        self._schema: bytes | None = None
        self._is_over = False
        self._row = 0

    def read(self, part: bytes) -> Iterator[np.ndarray]:
        """Yield what is complete of values (rows, features).

        Raises:
            RowError: names rows and columns; the rows before were yielded.

        """
        if self._is_over:
            return
        self._rest += part
        if len(self._rest) < self._needed:
            return
        content, self._rest = memoryview(self._rest), bytearray()
        while (size := self._next_size(content)) <= len(content) and not self._is_over:
            message, content = content[:size], content[size:]
            if self._schema is None:
                self._schema = bytes(message)
                self._parse(self._schema)
            else:
                yield from self._check(self._parse(b"".join((self._schema, message))))
        self._rest += content

    def end(self) -> Iterator[np.ndarray]:
        """Yield nothing; raises as :meth:`read` does where the body ends within a message."""
        if self._schema is None or (self._rest and not self._is_over):
            raise RowError("the Arrow stream ends in the middle of a message")
        yield from ()

    def _next_size(self, content: memoryview) -> int:
        """Return the size of the next message; where too little has come to know it, more than has come.

        It is also what must be there before the next step; the mark of the end, which has no message, ends the stream.
        """
        self._needed = HEAD
        if len(content) >= HEAD:
            mark, length = struct.unpack_from("<II", content)
            if mark != CONTINUES or length > MOST_METADATA:
                raise RowError("the body is not an Arrow IPC stream")
            self._is_over = length == 0
            self._needed = HEAD + length
            if length and len(content) >= self._needed:
                body = _body_length(content[HEAD : self._needed])
                if not 0 <= body <= self._most:
                    raise RowError(
                        f"a record batch has {body:,} bytes, expected {self._most:,} at most: send smaller batches"
                    )
                self._needed += body
        return self._needed

    def _parse(self, messages: bytes) -> list[np.ndarray]:
        """Return the values of the batches in a stream."""
        try:
            stream = na.c_array_stream(InputStream.from_readable(io.BytesIO(messages)))
            schema = stream.get_schema()
            names = [schema.child(number).name for number in range(schema.n_children)]
            order = find_columns(names)
            for column, place in enumerate(order):
                if schema.child(place).format not in NUMBERS or schema.child(place).dictionary:
                    raise RowError(f"column {FEATURES[column].field!r} is not of numbers")
            return [_to_rows(batch, order) for batch in stream]
        except (ValueError, RuntimeError, NotImplementedError) as error:
            if isinstance(error, RowError):
                raise
            raise RowError(f"the Arrow stream is broken: {str(error)[:200]}") from error

    def _check(self, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for values in batches:
            faults = list_faults(values)
            if len(good := values[: faults[0][0]] if faults else values):
                yield good
            if faults:
                raise RowError("; ".join(f"row {self._row + row}: {name}: {what}" for row, name, what in faults))
            self._row += len(values)


class ArrowWriter:
    """Writes the predicted class after the probability of each class."""

    content_type = ARROW

    def __init__(self, classes: Sequence[int]) -> None:
        """Write the columns of these classes."""
        columns = {f"probability_{label}": na.float32() for label in classes} | {ANSWER: na.int64()}
        self._schema, self._classes = na.struct(columns), len(classes)
        self._out = io.BytesIO()
        self._writer = StreamWriter.from_writable(self._out)

    def start(self) -> bytes:
        """Return the schema, and an empty batch that brings it."""
        return self.write(np.empty(0, np.int64), np.empty((0, self._classes), np.float32))

    def write(self, labels: np.ndarray, probabilities: np.ndarray) -> bytes:
        """Return one record batch."""
        kinds = [na.float32()] * self._classes + [na.int64()]
        columns = zip(kinds, [*np.ascontiguousarray(probabilities.T), labels], strict=True)
        children = [na.c_array_from_buffers(kind, len(labels), [None, column]) for kind, column in columns]
        self._writer.write_array(na.c_array_from_buffers(self._schema, len(labels), [None], children=children))
        return self._take()

    def end(self) -> bytes:
        """Return the mark of the end."""
        self._writer.close()
        return self._take()

    def fail(self, message: str) -> bytes:
        """Return nothing: a stream without the mark of its end is not complete."""
        return b""

    def _take(self) -> bytes:
        taken = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return taken


def _body_length(metadata: memoryview) -> int:
    """Return how many bytes follow a message's metadata, a flatbuffer whose fourth field says so."""
    try:
        (root,) = struct.unpack_from("<I", metadata)
        (back,) = struct.unpack_from("<i", metadata, root)
        (fields,) = struct.unpack_from("<H", metadata, root - back)
        place = struct.unpack_from("<H", metadata, root - back + 10)[0] if fields > 10 else 0
        return int(struct.unpack_from("<q", metadata, root + place)[0]) if place else 0
    except struct.error as error:
        raise RowError("the body is not an Arrow IPC stream") from error


def _to_rows(batch: Any, order: Sequence[int]) -> np.ndarray:
    values = np.empty((batch.length, len(FEATURES)), np.float32)
    for column, place in enumerate(order):
        child = batch.child(place)
        if child.null_count:
            raise RowError(f"column {FEATURES[column].field!r} lacks values")
        start = batch.offset + child.offset
        numbers = np.asarray(child.view().buffer(1))[start : start + batch.length]
        if len(numbers) != batch.length:
            raise RowError(f"column {FEATURES[column].field!r} is shorter than its batch")
        with np.errstate(over="ignore", invalid="ignore"):
            values[:, column] = numbers
    return values
