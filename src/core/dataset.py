"""The table: read and validate the CSV, split it by content.

The checks are ours: pandera, which was tried, lists a fault once for its type and once for its range, calls every grade
wrong where one is not a number, knows no header lines, and costs a second at the start of every task. Its cases would
need as much code as these checks to become a line, a column and a value.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from src.config import SplitRule
from src.core.table import describe_classes
from src.core.wine import CLASSES, FEATURES, TARGET
from src.errors import DataError

FEATURE_NAMES = [feature.name for feature in FEATURES]
COLUMNS = [*FEATURE_NAMES, TARGET]
_FIRST_LINE = 2  # of data: line 1 is the header
_SHOWN = 5
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Reading:
    """A table, and in words what its file spells otherwise than :func:`write` does."""

    table: pd.DataFrame
    converted: tuple[str, ...]


def read(path: Path) -> pd.DataFrame:
    """Read a CSV of float features and an integer target, in the order of ``COLUMNS``.

    Raises:
        DataError: names column, line and value of what is not the table of ``wine.py``.

    """
    return read_any(path).table


def read_any(path: Path) -> Reading:
    """Read a CSV as :func:`read` does, and say what had to be converted: separator, names, order, line ends."""
    content = path.read_bytes()
    separator = ";" if (header := content.partition(b"\n")[0]).count(b";") > header.count(b",") else ","
    text = _read_text(path, content, separator)
    names = list(text.columns)
    text.columns = _spell_names(names)
    table = _parse(path, text)
    return Reading(table, tuple(_describe_spelling(content, separator, names, list(text.columns))))


def _parse(path: Path, text: pd.DataFrame) -> pd.DataFrame:
    _check_columns(path, text)
    numbers = text[COLUMNS].apply(pd.to_numeric, errors="coerce")
    problems = [problem for column in COLUMNS for problem in _find_problems(column, text[column], numbers[column])]
    if problems:
        problems.sort()
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        lines = "".join(f"\n  line {line}, {problem}" for line, problem in problems[:_SHOWN])
        raise DataError(f"{path.name}: {len(problems)} bad value(s):{lines}{more}")
    table: pd.DataFrame = numbers.astype({TARGET: int} | dict.fromkeys(FEATURE_NAMES, float))
    return table


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table so that equal tables give equal bytes."""
    table.to_csv(path, index=False, lineterminator="\n")


def split(table: pd.DataFrame, rule: SplitRule) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, test): a row's part is decided by a salted hash of its features.

    Copies of a row never straddle the split, and appended rows never move the old ones.

    Raises:
        DataError: a part would be unusable.

    """
    held_out = hash_rows(table, rule.salt) < rule.test_share
    train, test = table[~held_out].reset_index(drop=True), table[held_out].reset_index(drop=True)
    unseen = sorted(set(test[TARGET]) - set(train[TARGET]))
    if unseen:
        where = f"{TARGET} {unseen[0]} has rows in test and none in train"
        raise DataError(f"{where}: add rows, or change the split's salt")
    if test[TARGET].nunique() < 2:
        raise DataError(f"test holds {len(test)} row(s) of {test[TARGET].nunique()} class(es), expected two or more")
    return train, test


def hash_rows(table: pd.DataFrame, salt: str) -> pd.Series:
    """Return for each row a number in [0, 1) that depends on its features and ``salt`` alone."""
    rows = table[FEATURE_NAMES].to_numpy(float).tolist()
    digests = [hashlib.sha256(f"{salt}:{','.join(map(repr, row))}".encode()).digest() for row in rows]
    return pd.Series([int.from_bytes(digest[:6], "big") / 256**6 for digest in digests], index=table.index, dtype=float)


def _spell_names(names: list[str]) -> list[str]:
    """Return the names with ``fixed_acidity`` and `` fixed acidity`` as ``fixed acidity``, unless that is there too."""
    spelt = list(names)
    for place, name in enumerate(names):
        plain = name.strip().replace("_", " ")
        if plain in COLUMNS and plain not in spelt:
            spelt[place] = plain
    return spelt


def _describe_spelling(content: bytes, separator: str, names: list[str], spelt: list[str]) -> Iterator[str]:
    if content.startswith(_BOM):
        yield "a byte order mark"
    if separator != ",":
        yield f"{separator!r} between the fields"
    if b"\r\n" in content:
        yield "line ends of Windows"
    if renamed := [name for name, plain in zip(names, spelt, strict=True) if name != plain]:
        yield f"names: {', '.join(map(repr, renamed))}"
    if spelt != COLUMNS:
        yield "another order of the columns"


def _read_text(path: Path, content: bytes, separator: str) -> pd.DataFrame:
    try:
        text = pd.read_csv(
            io.BytesIO(content),
            sep=separator,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path.name} is empty, expected a header and rows") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        named = {",": "comma", ";": "semicolon"}[separator]
        raise DataError(f"{path.name} is not a {named}-separated UTF-8 table: {error}") from error
    return text.fillna("")


def _check_columns(path: Path, text: pd.DataFrame) -> None:
    columns = list(text.columns)
    missing = [column for column in COLUMNS if column not in columns]
    extra = [column for column in columns if column not in COLUMNS]
    if missing or extra:
        wrong = [f"column {name!r} is missing" for name in missing] + [f"column {name!r} is unknown" for name in extra]
        raise DataError(f"{path.name}: {'; '.join(wrong)}. Expected: {', '.join(COLUMNS)}")
    if text.empty:
        raise DataError(f"{path.name} has no rows below its header")
    if not isinstance(text.index, pd.RangeIndex):
        raise DataError(f"{path.name}: line {_FIRST_LINE} has more fields than the header's {len(columns)}")


def _find_problems(column: str, text: pd.Series, numbers: pd.Series) -> list[tuple[int, str]]:
    if column == TARGET:
        bad = ~numbers.isin(CLASSES)
        expected = f"expected a class {describe_classes(CLASSES)}"
    else:
        feature = FEATURES[FEATURE_NAMES.index(column)]
        bad = ~numbers.between(feature.lowest, feature.highest)
        expected = f"expected {feature.lowest:g} to {feature.highest:g} {feature.unit}".rstrip()
    return [
        (int(row) + _FIRST_LINE, f"column {column!r}: {_fault(text[row], numbers[row])}, {expected}")
        for row in text.index[bad]
    ]


def _fault(text: str, number: float) -> str:
    if not text:
        return "the value is missing"
    if "," in text:
        return f"{text!r} has a comma, expected a point before decimals and nothing between thousands"
    return f"{text!r} is {'not a number' if pd.isna(number) else 'out of range'}"
