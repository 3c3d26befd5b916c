"""Whether a model's ROC_AUC on new wines is lower than it was, beyond what so few wines can tell by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.config import DataRule


@dataclass(frozen=True)
class Answers:
    """A model's probabilities, of shape (rows, classes), for wines whose true class is known, of shape (rows,)."""

    truth: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Change:
    """ROC_AUC before and now, over the classes that both samples have enough of, and the highest likely change."""

    before: float
    now: float
    highest: float

    @property
    def fell(self) -> bool:
        """Say whether chance alone would not have made it this low."""
        return self.highest < 0


def measure(before: Answers, now: Answers, classes: Sequence[int], rule: DataRule) -> Change | None:
    """Return how ROC_AUC changed between two samples without a common wine, None where there are too few to tell.

    Both samples are drawn anew, class by class, ``rule.draws`` times.
    """
    enough = [
        (column, label)
        for column, label in enumerate(classes)
        if min((answers.truth == label).sum() for answers in (before, now)) >= rule.least_of_class
    ]
    if len(enough) < 2:
        return None
    generator = np.random.default_rng(rule.seed)
    old, new = (_Sample(answers, enough) for answers in (before, now))
    changes = [new.draw(generator) - old.draw(generator) for _ in range(rule.draws)]
    return Change(old.area(), new.area(), float(np.quantile(changes, 1 - rule.falls_by_chance)))


class _Sample:
    """Answers, ready to be drawn from: of each class the rows, and of each column of probabilities the ranks."""

    def __init__(self, answers: Answers, enough: Sequence[tuple[int, int]]) -> None:
        self._rows = [np.flatnonzero(answers.truth == label) for label in np.unique(answers.truth)]
        self._classes = [
            (answers.truth == label, np.unique(answers.probabilities[:, column], return_inverse=True)[1])
            for column, label in enough
        ]

    def draw(self, generator: np.random.Generator) -> float:
        return self._area(np.concatenate([generator.choice(rows, len(rows)) for rows in self._rows]))

    def area(self) -> float:
        return self._area(np.concatenate(self._rows))

    def _area(self, rows: np.ndarray) -> float:
        return float(np.mean([_area(is_class[rows], ranks[rows]) for is_class, ranks in self._classes]))


def _area(is_class: np.ndarray, ranks: np.ndarray) -> float:
    """Return the share of pairs in which the wine of the class has the higher rank; a tie is half a pair."""
    size = int(ranks.max()) + 1
    positive, negative = (np.bincount(ranks[chosen], minlength=size) for chosen in (is_class, ~is_class))
    pairs = (positive * (np.cumsum(negative) - negative / 2)).sum()
    return float(pairs / (positive.sum() * negative.sum()))
