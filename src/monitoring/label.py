"""Labels from a file: ids of predictions, or the features that were sent, with what turned out true."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

from src.core import dataset
from src.core.prediction_record import FIELDS, is_id
from src.core.wine import CLASSES, NAME, TARGET
from src.errors import DataError
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults, LabelsTaken, find_predictions, read_day, take_labels

MAX_BYTES = 64 * 2**20
HEADER = ["id", TARGET]

Told = list[tuple[str, int]]  # ids of predictions with their labels


def label_file(bucket: Bucket, path: Path, by: str, today: date, days: int, faults: Faults) -> LabelsTaken:
    """Take the labels of a file: ``id`` and the target, or each feature and the target, which are looked for in the
    predictions of so many days.

    Raises:
        DataError: there is no such file, or its header is another.

    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path.name} has more than {MAX_BYTES:,} bytes")
    told = _read_ids(path, faults) if _has_ids(path) else list(_match(bucket, path, today, days, faults))
    known = find_predictions(bucket, [one for one, _ in told], faults).keys()
    return take_labels(bucket, told, known, by)


def _has_ids(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return HEADER[0] in [name.strip().strip('"') for name in file.readline().replace(";", ",").split(",")]


def _read_ids(path: Path, faults: Faults) -> Told:
    try:
        rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")))
        header = [name.strip() for name in next(rows)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} is no CSV: {error}") from error
    if header != HEADER:
        raise DataError(f"{path.name} begins with {','.join(header)!r}, expected {','.join(HEADER)!r}")
    told: Told = []
    for number, row in enumerate(rows, 2):
        if fault := _find_fault(row):
            faults.add(f"{path.name}, line {number}", fault)
        else:
            told.append((row[0].strip(), int(row[1])))
    return told


def _find_fault(row: Sequence[str]) -> str | None:
    if len(row) != len(HEADER):
        return f"{len(row)} fields, expected {len(HEADER)}"
    if not is_id(row[0].strip()):
        return f"{row[0][:40]!r} is no id of a prediction"
    if row[1].strip() not in map(str, CLASSES):
        return f"{TARGET} {row[1][:20]!r} is impossible, expected one of {', '.join(map(str, CLASSES))}"
    return None


def _match(bucket: Bucket, path: Path, today: date, days: int, faults: Faults) -> Iterator[tuple[str, int]]:
    """Yield the ids of the predictions whose values a row of the file has, with the row's label."""
    table = dataset.read_any(path).table
    values = map(tuple, table[dataset.FEATURE_NAMES].to_numpy(float).tolist())
    labels = dict(zip(values, map(int, table[TARGET]), strict=True))
    matched = set()
    for back in range(days):
        for one in read_day(bucket, today - timedelta(days=back), faults):
            row = tuple(one.values[field] for field in FIELDS)
            if row in labels:
                matched.add(row)
                yield one.id, labels[row]
    if missed := len(labels) - len(matched):
        faults.add(path.name, f"{missed} {NAME}s were not predicted in the last {days} days")
