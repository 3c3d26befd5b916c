"""A day's live wines as arrays, joined with the labels that are known of them."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np

from src.core.metrics import Answers
from src.core.prediction_record import FIELDS, Label, Prediction
from src.core.wine import CLASSES
from src.storage.prediction_log import Faults, Store, read_day, read_labels


@dataclass(frozen=True)
class Traffic:
    """Wines in the order in which they were read; ``probabilities`` (wines, classes) are in the order of ``CLASSES``.

    ``truth`` is 0 where no label is known.
    """

    ids: tuple[str, ...]
    releases: np.ndarray
    values: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    is_labelled: np.ndarray
    truth: np.ndarray

    @property
    def count_by_release(self) -> dict[str, int]:
        """Return how many wines each release answered, the busiest first."""
        return dict(Counter(self.releases.tolist()).most_common())

    def take(self, chosen: np.ndarray) -> "Traffic":
        """Return the wines that a mask or an index chooses."""
        rows = np.arange(len(self.ids))[chosen]
        ids = tuple(self.ids[row] for row in rows)
        columns = ("releases", "values", "predicted", "probabilities", "is_labelled", "truth")
        return Traffic(ids, *(getattr(self, name)[rows] for name in columns))

    def drop_copies(self) -> "Traffic":
        """Return each wine once: what is asked again and again, as probes do, tells nothing new."""
        _, first = np.unique(self.values, axis=0, return_index=True)
        return self.take(np.sort(first))

    def answers(self, classes: Iterable[int]) -> Answers:
        """Return what was answered, with the probabilities of these classes in their order."""
        columns = [CLASSES.index(label) for label in classes]
        return Answers(self.predicted, self.probabilities[:, columns])


def read(store: Store, day: date, faults: Faults) -> Traffic:
    """Read the wines of a day (UTC) and their labels, as far as they can be read; what cannot is added to ``faults``.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    return collect(read_day(store, day, faults), read_labels(store, day, faults))


def collect(predictions: Iterable[Prediction], labels: Mapping[str, Label]) -> Traffic:
    """Return predictions as arrays; what is there twice counts once."""
    rows: dict[str, int] = {}
    releases: list[str] = []
    values, shares, predicted = array("d"), array("d"), array("l")
    for one in predictions:
        if one.id in rows:
            continue
        rows[one.id] = len(rows)
        releases.append(one.release)
        values.extend(one.values[name] for name in FIELDS)
        shares.extend(one.probabilities.get(str(label), 0.0) for label in CLASSES)
        predicted.append(one.predicted)
    truth, is_labelled = np.zeros(len(rows), int), np.zeros(len(rows), bool)
    for label in labels.values():
        if (row := rows.get(label.id)) is not None:
            truth[row], is_labelled[row] = label.label, True
    return Traffic(
        tuple(rows),
        np.array(releases, dtype=str),
        np.array(values).reshape(-1, len(FIELDS)),
        np.array(predicted, dtype=int),
        np.array(shares).reshape(-1, len(CLASSES)),
        is_labelled,
        truth,
    )
