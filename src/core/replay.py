"""A release on wines that were asked about in earnest: what it would have answered otherwise than the champion."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from src.core.prediction_record import FIELDS, Prediction
from src.core.release import Release
from src.core.wine import CLASSES, NAME

UNKNOWN = min(CLASSES) - 1  # the label of a wine that has none
DRIVERS = 3  # features that are named


@dataclass(frozen=True)
class Wines:
    """Logged wines: ``values`` (rows, features), and ``truth`` (rows,), which is ``UNKNOWN`` where no label came."""

    values: np.ndarray
    truth: np.ndarray

    @classmethod
    def gather(cls, predictions: Iterable[Prediction], labels: Mapping[str, int]) -> "Wines":
        """Take the values of predictions, and the ``labels`` that their ids have."""
        rows = [([one.values[field] for field in FIELDS], labels.get(one.id, UNKNOWN)) for one in predictions]
        values, truth = ([row[part] for row in rows] for part in (0, 1))
        return cls(np.array(values, float).reshape(-1, len(FIELDS)), np.array(truth, int))


@dataclass(frozen=True)
class Replay:
    """How a release answers ``rows`` logged wines beside the champion.

    ``disagreement`` is the share whose class changes; ``distance`` the mean share of probability that moves, from 0
    to 1; ``drivers`` say by how much less it moves with one feature held at its median. Of the ``labelled`` wines each
    of the two was right about a share; None where there is no label.
    """

    rows: int
    disagreement: float
    distance: float
    drivers: Mapping[str, float]
    labelled: int
    right: float | None
    champion_right: float | None

    def list_figures(self) -> dict[str, dict[str, float]]:
        """Return them as the registry's event keeps figures."""
        figures = {
            "rows": self.rows,
            "disagreement": self.disagreement,
            "distance": self.distance,
            "labelled": self.labelled,
            "right": self.right,
            "champion_right": self.champion_right,
        }
        known = {name: float(value) for name, value in figures.items() if value is not None}
        return {"replay": known, "replay_drivers": dict(self.drivers)}

    def to_text(self) -> str:
        """Return them in words."""
        told = [
            f"of {self.rows:,} logged {NAME}s {self.disagreement:.1%} get another class",
            f"{self.distance:.1%} of the probability moves",
        ]
        if self.drivers:
            told.append("most by " + ", ".join(f"{name} ({share:+.1%})" for name, share in self.drivers.items()))
        if self.right is not None and self.champion_right is not None:
            told.append(
                f"of {self.labelled:,} with a label it is right about {self.right:.1%}, "
                f"the champion about {self.champion_right:.1%}"
            )
        return "; ".join(told)


def replay(challenger: Release, champion: Release, wines: Wines) -> Replay:
    """Score both on the same wines, of which there must be one or more."""
    mine, theirs = (_answer(release, wines.values) for release in (challenger, champion))
    labelled = wines.truth != UNKNOWN
    distance = _distance(mine, theirs)
    return Replay(
        rows=len(wines.values),
        disagreement=_round((_classes(mine) != _classes(theirs)).mean()),
        distance=_round(distance),
        drivers=_find_drivers(challenger, champion, wines.values, distance),
        labelled=int(labelled.sum()),
        right=_share_right(mine, wines.truth, labelled),
        champion_right=_share_right(theirs, wines.truth, labelled),
    )


def _answer(release: Release, values: np.ndarray) -> np.ndarray:
    """Return probabilities (rows, CLASSES); a class that the release does not know has none."""
    _, probabilities = release.model.predict(values)
    every = np.zeros((len(values), len(CLASSES)))
    every[:, [CLASSES.index(label) for label in release.provenance.classes]] = probabilities
    return every


def _classes(probabilities: np.ndarray) -> np.ndarray:
    classes: np.ndarray = np.array(CLASSES)[probabilities.argmax(axis=1)]
    return classes


def _distance(mine: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(mine - theirs).sum(axis=1).mean() / 2)


def _find_drivers(challenger: Release, champion: Release, values: np.ndarray, distance: float) -> dict[str, float]:
    """Return the features without whose variation the two would differ least, the first of them first."""
    saved = []
    for column, field in enumerate(FIELDS):
        still = values.copy()
        still[:, column] = np.median(values[:, column])
        saved.append((distance - _distance(_answer(challenger, still), _answer(champion, still)), field))
    return {field: _round(share) for share, field in sorted(saved, reverse=True)[:DRIVERS] if _round(share) > 0}


def _share_right(probabilities: np.ndarray, truth: np.ndarray, labelled: np.ndarray) -> float | None:
    return _round((_classes(probabilities) == truth)[labelled].mean()) if labelled.any() else None


def _round(share: float) -> float:
    return round(float(share), 6)
