"""Labels that a person brings in a CSV: predictions by their ids or by their features, and the true class."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from src.core.prediction_record import FIELDS, ID, Label, find_time, measure
from src.core.table import describe_classes, spell
from src.core.wine import CLASSES, NAME, TARGET
from src.errors import DataError
from src.storage.prediction_log import Faults, Store, find_predictions, read_day, read_labels, write_labels

DAYS = 90  # back from today that wines are looked for by their features
TRUTH = spell(TARGET)
LARGEST = 1e30  # of a number; a float32 holds more

Key = str | tuple[float, ...]  # an id, or a wine's features as the model takes them


@dataclass
class Outcome:
    """What became of a file's labels; each fault names its line, and ``unread`` what of the log could not be read."""

    taken: int = 0
    faults: list[str] = field(default_factory=list)
    unread: Faults = field(default_factory=Faults)


@dataclass(frozen=True)
class _Line:
    number: int
    key: Key
    label: int


def take_labels(store: Store, path: Path, by: str, today: date) -> Outcome:
    """Write the labels of a file; a wrong line is named, and the others count. The first label of a prediction stands.

    Raises:
        DataError: it is no such file.
        StoreError: the bucket cannot be reached.

    """
    outcome = Outcome()
    lines = list(_read(path, outcome.faults))
    named = [line for line in lines if isinstance(line.key, str)]
    known: dict[Key, list[str]] = {
        one: [one] for one in find_predictions(store, [str(line.key) for line in named], outcome.unread)
    }
    if len(named) < len(lines):
        known |= _find_wines(store, {line.key for line in lines}, today, outcome.unread)
    new = _choose(store, lines, known, by, outcome)
    write_labels(store, new)
    outcome.taken = len(new)
    return outcome


def _choose(
    store: Store, lines: Sequence[_Line], known: dict[Key, list[str]], by: str, outcome: Outcome
) -> list[Label]:
    days = {find_time(one).date() for ids in known.values() for one in ids}
    before = {key: one.label for day in days for key, one in read_labels(store, day, outcome.unread).items()}
    now, new = datetime.now(UTC).isoformat(timespec="microseconds"), list[Label]()
    for line in lines:
        told = line.key if isinstance(line.key, str) else f"the {NAME}"
        if line.key not in known:
            where = "" if isinstance(line.key, str) else f" of the last {DAYS} days"
            outcome.faults.append(f"line {line.number}: {told} is none of the predictions in the log{where}")
        for one in known.get(line.key, []):
            if one not in before:
                new.append(Label(time=now, id=one, label=line.label, by=by))
                before[one] = line.label
            else:
                stands = "" if before[one] == line.label else f", which stands, and not {line.label}"
                outcome.faults.append(f"line {line.number}: {one} has the label {before[one]} already{stands}")
    return new


def _find_wines(store: Store, wanted: set[Key], today: date, faults: Faults) -> dict[Key, list[str]]:
    found: dict[Key, list[str]] = {}
    for back in range(DAYS):
        for one in read_day(store, today - timedelta(days=back), faults):
            key = measure([one.values[name] for name in FIELDS])
            if key in wanted and one.id not in found.setdefault(key, []):
                found[key].append(one.id)
    return found


def _read(path: Path, faults: list[str]) -> Iterator[_Line]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    header = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter=";" if header.count(";") > header.count(",") else ",")
    names = [spell(name.strip()) for name in next(rows, [])]
    by_id = "id" in names
    _check_header(path, names, ["id", TRUTH] if by_id else [*FIELDS, TRUTH])
    for row in rows:
        if not row:
            continue
        try:
            if len(row) != len(names):
                raise ValueError(f"it has {len(row)} fields, expected {len(names)}")
            yield _parse(rows.line_num, dict(zip(names, row, strict=True)), by_id)
        except ValueError as error:
            faults.append(f"line {rows.line_num}: {error}")


def _check_header(path: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in names]
    twice = [name for name in expected if names.count(name) > 1]
    if missing or twice:
        wrong = [f"column {name!r} is missing" for name in missing] + [
            f"column {name!r} is there twice" for name in twice
        ]
        raise DataError(
            f"{path.name}: line 1: {'; '.join(wrong)}. Expected: id, {TRUTH}; or: {', '.join([*FIELDS, TRUTH])}"
        )


def _parse(number: int, row: dict[str, str], by_id: bool) -> _Line:
    told = row[TRUTH].strip()
    if told not in map(str, CLASSES):
        raise ValueError(f"{TRUTH} {told[:100]!r} is impossible, expected a class {describe_classes(CLASSES)}")
    if not by_id:
        return _Line(number, measure([_read_number(name, row[name]) for name in FIELDS]), int(told))
    key = row["id"].strip()
    if not re.match(ID, key):
        raise ValueError(f"{key[:100]!r} is no prediction's id")
    return _Line(number, key, int(told))


def _read_number(name: str, text: str) -> float:
    """Return a number of a size that a feature can have."""
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{name} {text[:100]!r} is not a number") from error
    if abs(number) > LARGEST:
        raise ValueError(f"{name} {text[:100]!r} is impossible")
    return number
