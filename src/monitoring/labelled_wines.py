"""The table of ``data.dvc`` with the wines that were labelled since: what ``make data FROM=labels`` proposes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from src.core import dataset
from src.core.pointer import Pointer
from src.core.prediction_record import FIELDS, Label, Prediction, measure
from src.core.wine import FILE, NAME, TARGET
from src.errors import DataError
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults, find_predictions, list_labelled_days, read_labels
from src.storage.workspace import open_workspace

MOST_NAMED = 20  # of those who labelled


@dataclass(frozen=True)
class Proposal:
    """A table with the ``added`` wines at its end, ``about`` them for the pointer's ``meta``, and what was broken."""

    table: pd.DataFrame
    added: int
    about: Mapping[str, Any]
    faults: Faults


def propose(data: Pointer, bucket: Bucket) -> Proposal:
    """Add each labelled wine to the table that ``data`` names, unless the table has it already.

    Raises:
        DataError: no labelled wine is new.
        MissingError: the bucket lacks the table.

    """
    faults = Faults()
    with open_workspace(bucket) as workspace:
        (folder,) = workspace.pull(data)
        table = dataset.read(folder / FILE)
    labelled = list(_read(bucket, faults))
    fresh = list(_drop_copies(table, labelled))
    if not fresh:
        raise DataError(f"none of {len(labelled)} labelled {NAME}s is new to the table; label more with POST /labels")
    rows = [[*(one.values[field] for field in FIELDS), label.label] for one, label in fresh]
    added = pd.DataFrame(rows, columns=[*dataset.FEATURE_NAMES, TARGET]).astype(table.dtypes)
    return Proposal(pd.concat([table, added], ignore_index=True), len(fresh), _describe(fresh), faults)


def write(proposal: Proposal, folder: Path) -> Path:
    """Write the table, which is validated when it is read again, as every new table is."""
    path = folder / FILE
    dataset.write(proposal.table, path)
    return path


def _read(bucket: Bucket, faults: Faults) -> Iterator[tuple[Prediction, Label]]:
    for day in list_labelled_days(bucket, faults):
        labels = read_labels(bucket, day, faults)
        found = find_predictions(bucket, labels, faults)
        yield from ((found[one], labels[one]) for one in sorted(found))


def _drop_copies(
    table: pd.DataFrame, labelled: Iterable[tuple[Prediction, Label]]
) -> Iterator[tuple[Prediction, Label]]:
    rows = table[[*dataset.FEATURE_NAMES, TARGET]].astype(float).to_numpy().tolist()
    known = {(measure(row[:-1]), row[-1]) for row in rows}
    for one, label in labelled:
        row = measure([one.values[field] for field in FIELDS]), float(label.label)
        if row not in known:
            known.add(row)
            yield one, label


def _describe(fresh: list[tuple[Prediction, Label]]) -> dict[str, Any]:
    """Return who told the labels, and when."""
    times = sorted(label.time for _, label in fresh)
    by = sorted({label.by for _, label in fresh})
    return {"labelled": {"rows": len(fresh), "by": by[:MOST_NAMED], "first": times[0], "last": times[-1]}}
