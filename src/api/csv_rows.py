"""Rows in CSV, as they come, and the predictions for them.

A block of lines is made one JSON array of numbers, which simdjson reads at once: 1,000 wines in 0.12 ms; arrow-rs takes
0.29, ``numpy.loadtxt`` 0.33. What JSON cannot spell and CSV can (quotes, ``.5``, blank lines) is read line by line.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import simdjson

from src.api.rows import RowError, find_columns, list_faults, to_float32
from src.api.schemas import ANSWER, MOST_FAULTS
from src.core.wine import FEATURES, TARGET

CONTENT_TYPE = "text/csv"
LONGEST_LINE = 65_536
NUMBERS = b"0123456789.eE+- "


class CsvReader:
    """Finds rows in the parts of a body; commas or semicolons, a header, and any order of columns."""

    def __init__(self, most: int) -> None:
        """Expect a header; no line may be longer than ``LONGEST_LINE``, or ``most``."""
        self._most = min(most, LONGEST_LINE)
        self._rest = b""
        self._line = 1  # the next one
        self._separator = b","
        self._order: list[int] | None = None  # the feature's place in a line, by feature
        self._width = 0

    def read(self, part: bytes) -> Iterator[np.ndarray]:
        """Yield what is complete of values (rows, features).

        Raises:
            RowError: names lines and columns; the rows before were yielded.

        """
        block, end, rest = part.rpartition(b"\n")
        self._rest, block = (rest, self._rest + block + end) if end else (self._rest + rest, b"")
        if len(self._rest) > self._most:
            raise RowError(f"line {self._line + block.count(end or b'-')} is longer than {self._most:,} bytes")
        if b"\r" in block:
            block = block.replace(b"\r", b"")
        if block and self._order is None:
            header, _, block = block.partition(b"\n")
            self._read_header(header)
        if block:
            yield from self._read_block(block)

    def end(self) -> Iterator[np.ndarray]:
        """Yield the rest; raises as :meth:`read` does."""
        if self._rest:
            yield from self.read(b"\n")
        if self._order is None:
            raise RowError("the body is empty, expected a header and rows")

    def _read_header(self, line: bytes) -> None:
        text = line.decode("utf-8-sig", "replace")
        self._separator = b";" if ";" in text else b","
        names = [name.strip(' "') for name in text.split(self._separator.decode())]
        try:
            self._order = find_columns(names)
        except RowError as error:
            raise RowError(f"line 1: {error}") from None
        self._width = len(names)
        self._line = 2

    def _read_block(self, block: bytes) -> Iterator[np.ndarray]:
        count = block.count(b"\n")
        frame = self._separator * (self._width - 1) + b"\n"
        numbers = None
        if block.translate(None, NUMBERS) == frame * count:
            flat = b"[" + block[:-1].replace(self._separator, b",").replace(b"\n", b",") + b"]"
            try:
                array: Any = simdjson.Parser().parse(flat)
                numbers = np.frombuffer(array.as_buffer(of_type="d"))
            except (TypeError, ValueError, RuntimeError):
                numbers = None  # as for 007, which the slower way reads
        if numbers is not None:
            table = numbers.reshape(count, self._width)
            first, self._line = self._line, self._line + count
            yield from self._check(table, range(first, self._line), None)
        else:
            yield from self._read_lines(block)

    def _read_lines(self, block: bytes) -> Iterator[np.ndarray]:
        """Read what is not plain numbers, line by line, up to the first that has no meaning."""
        table, lines, fault = [], [], None
        for text in block.decode("utf-8", "replace").split("\n")[:-1]:
            cells = [cell.strip(' "') for cell in text.split(self._separator.decode())]
            if text.strip():
                fault = self._find_fault(cells)
                if fault:
                    break
                table.append([float(cell) for cell in cells])
                lines.append(self._line)
            self._line += 1
        yield from self._check(np.array(table).reshape(-1, self._width), lines, fault)

    def _find_fault(self, cells: Sequence[str]) -> str | None:
        if len(cells) != self._width:
            return f"line {self._line}: {len(cells)} values, expected {self._width}"
        for feature, place in zip(FEATURES, self._order or (), strict=True):
            if not _is_number(cells[place]):
                return f"line {self._line}: {feature.field}: {cells[place][:50]!r} is not a number"
        others = [cell for place, cell in enumerate(cells) if place not in (self._order or ())]
        wrong = [cell for cell in others if not _is_number(cell)]
        return f"line {self._line}: {TARGET}: {wrong[0][:50]!r} is not a number" if wrong else None

    def _check(self, table: np.ndarray, lines: Sequence[int], fault: str | None) -> Iterator[np.ndarray]:
        values = to_float32(table[:, self._order])
        told = [(row, f"line {lines[row]}: {field}: {message}") for row, field, message in list_faults(values)]
        good = values[: told[0][0]] if told else values
        if len(good):
            yield good
        if told or fault:
            raise RowError("; ".join([*(text for _, text in told), *([fault] if fault else [])][:MOST_FAULTS]))


class CsvWriter:
    """Writes the predicted class last, after the probability of each class."""

    content_type = CONTENT_TYPE

    def __init__(self, classes: Sequence[int]) -> None:
        """Write the columns of these classes."""
        self._classes = classes

    def start(self) -> bytes:
        """Return the header."""
        return ",".join([*(f"probability_{label}" for label in self._classes), ANSWER]).encode() + b"\n"

    def write(self, labels: np.ndarray, probabilities: np.ndarray) -> bytes:
        """Return one line a row."""
        table = np.concatenate([probabilities, labels[:, None].astype(np.float32)], axis=1)
        return orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)[2:-4].replace(b".0],[", b"\n") + b"\n"

    def end(self) -> bytes:
        """Return nothing: the last line is the last row's."""
        return b""

    def fail(self, message: str) -> bytes:
        """Return a line that says what went wrong."""
        return f"error: {message}\n".encode()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()
