"""A CSV that a person drops: read with every fault by line and column, however its names and separators are spelt."""

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from words import say

FIRST_LINE = 2  # of data: line 1 is the header
SHOWN = 1000  # faults in the list; a person corrects the first, and drops the file again
LONGEST = 80  # characters of a wrong row in the list
Fault = tuple[int, str, str, str]  # line, column, value, what can be


class FileProblem(Exception):
    """Why a file is no table of these features; the sentence is for the person who dropped it."""


@dataclass(frozen=True)
class TableFile:
    """``table`` has the file's cells as texts, without the rows of too many or too few, and ``lines`` its line numbers.

    ``good`` says which rows can be predicted, ``values`` (good rows, features) are theirs, and ``truth`` their target
    (NaN: unknown). ``faults`` has a line for each wrong row or cell; ``ignored`` are the columns that are no features.
    """

    table: pa.Table
    lines: np.ndarray
    good: np.ndarray
    values: np.ndarray
    truth: np.ndarray
    faults: pd.DataFrame
    ignored: list[str]
    rows: int

    @property
    def wrong(self) -> int:
        """Return how many rows cannot be predicted."""
        return self.rows - len(self.values)


def read(content: bytes, release: Mapping[str, Any]) -> TableFile:
    """Read a file of the table that ``release`` is of.

    Raises:
        FileProblem: it is not UTF-8, or lacks a column.

    """
    table, lines, faults = _split(content)
    rows = len(lines) + len(faults)
    features, header = release["features"], table.column_names
    columns, target = _find_columns(header, features), _find_target(header, release["target"])
    numbers = np.stack([_to_numbers(table.column(column)) for column in columns], axis=1)
    lowest, highest = (np.array([feature[end] for feature in features]) for end in ("lowest", "highest"))
    fits = (numbers >= lowest) & (numbers <= highest)
    for row, number in np.argwhere(~fits)[:SHOWN].tolist():
        feature, cell = features[number], table.column(columns[number])[row].as_py()
        expected = say("fault_expected", lowest=f"{feature['lowest']:g}", highest=f"{feature['highest']:g}")
        faults.append((int(lines[row]), header[columns[number]], cell, expected))
    good: np.ndarray = np.asarray(fits.all(axis=1))
    names = [say("fault_line"), say("fault_column"), say("fault_value"), say("fault_why")]
    return TableFile(
        table=table,
        lines=lines,
        good=good,
        values=numbers[good],
        truth=np.full(int(good.sum()), np.nan) if target is None else _to_numbers(table.column(target))[good],
        faults=pd.DataFrame(sorted(faults)[:SHOWN], columns=names),
        ignored=[name for place, name in enumerate(header) if place not in columns and place != target],
        rows=rows,
    )


def _split(content: bytes) -> tuple[pa.Table, np.ndarray, list[Fault]]:
    """Return the cells as texts, the line of each row, and the rows that have more or fewer than the header."""
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        raise FileProblem(say("file_empty"))
    head = content.partition(b"\n")[0]
    separator = ";" if head.count(b";") > head.count(b",") else ","
    left_out: list[int] = []  # lines
    faults: list[Fault] = []

    def leave_out(row: Any) -> str:
        left_out.append(row.number)
        why = say("fault_cells", found=row.actual_columns, expected=row.expected_columns)
        faults.append((row.number, "", row.text[:LONGEST], why))
        return "skip"

    try:
        header = next(csv.reader([head.decode()], delimiter=separator))
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            pyarrow.csv.ReadOptions(use_threads=False, column_names=[str(place) for place in range(len(header))]),
            pyarrow.csv.ParseOptions(delimiter=separator, ignore_empty_lines=False, invalid_row_handler=leave_out),
            pyarrow.csv.ConvertOptions(column_types={str(place): pa.string() for place in range(len(header))}),
        ).slice(1)
    except UnicodeDecodeError as error:
        raise FileProblem(say("file_not_text")) from error
    except pa.ArrowInvalid as error:
        raise FileProblem(say("file_not_csv", why=str(error))) from error
    if not table.num_rows + len(faults):
        raise FileProblem(say("file_empty"))
    lines = np.arange(table.num_rows + len(left_out)) + FIRST_LINE
    lines = np.delete(lines, np.array(left_out, int) - FIRST_LINE)
    is_blank = np.logical_and.reduce([pc.equal(column, "").to_numpy() for column in table.columns])
    return table.rename_columns(header).filter(pa.array(~is_blank)), lines[~is_blank], faults


def _find_columns(header: Sequence[str], features: Sequence[Mapping[str, Any]]) -> list[int]:
    spelt = [_spell(name) for name in header]
    wanted = [_spell(feature["field"]) for feature in features]
    if missing := [feature["name"] for feature, name in zip(features, wanted, strict=True) if name not in spelt]:
        raise FileProblem(say("file_lacks", names=", ".join(missing)))
    if double := sorted({name for name in spelt if name in wanted and spelt.count(name) > 1}):
        raise FileProblem(say("file_doubles", names=", ".join(double)))
    return [spelt.index(name) for name in wanted]


def _find_target(header: Sequence[str], target: str) -> int | None:
    spelt = [_spell(name) for name in header]
    return spelt.index(_spell(target)) if _spell(target) in spelt else None


def _spell(name: str) -> str:
    return name.strip().replace(" ", "_").lower()


def _to_numbers(cells: pa.ChunkedArray) -> np.ndarray:
    """Return numbers of texts, NaN where one is none; 7,4 is a number where semicolons separate."""
    try:
        numbers: np.ndarray = cells.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        texts = cells.to_pandas().str.replace(",", ".", regex=False)
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    return numbers
