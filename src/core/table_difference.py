"""A new table beside the one that the champion was trained on: what changed, and what of it a person must accept."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.config import DataRule
from src.core.dataset import COLUMNS, FEATURE_NAMES
from src.core.wine import CLASSES, NAME, TARGET

_BINS = 10  # of the population stability index
_BEYOND_CHANCE = 1.95  # Kolmogorov's constant: equal distributions are further apart once in a thousand
# What a value is multiplied by where somebody measures in another unit.
_FACTORS = {
    **{f"values times {10.0**power:g}": 10.0**power for power in (-6, -3, -2, -1, 1, 2, 3, 6)},
    "pounds for kilograms": 2.20462,
    "kilograms for pounds": 1 / 2.20462,
    "US gallons for litres": 1 / 3.78541,
    "litres for US gallons": 3.78541,
    "% of mass for % of volume": 0.789,
    "% of volume for % of mass": 1 / 0.789,
    "sulfuric for tartaric acid": 0.6535,
    "sulfuric for acetic acid": 0.8167,
}


@dataclass(frozen=True)
class Finding:
    """What a person must accept: a name of two or three words, and the figures behind it."""

    name: str
    detail: str

    def __str__(self) -> str:
        """Return both, for a sentence."""
        return f"{self.name} ({self.detail})"


@dataclass(frozen=True)
class Spread:
    """The lowest, middle and highest value of a feature."""

    minimum: float
    median: float
    maximum: float

    def __str__(self) -> str:
        """Return ``9.5 (8.4 to 14.9)``."""
        return f"{self.median:.4g} ({self.minimum:.4g} to {self.maximum:.4g})"


@dataclass(frozen=True)
class FeatureShift:
    """How one feature moved.

    ``psi`` is the population stability index over the old table's tenths, ``ks`` the Kolmogorov-Smirnov distance, and
    ``surely`` what of it is beyond chance, of the added rows alone where these moved further. ``far`` counts added rows
    that are further out than the old range is wide; ``unit`` names a change of units that would explain the shift.
    """

    name: str
    before: Spread
    after: Spread
    psi: float
    ks: float
    surely: float
    far: int
    unit: str | None


@dataclass(frozen=True)
class TableDifference:
    """Rows by content, a row of the new table that the old one had as often being ``kept``; classes; features."""

    added: int
    dropped: int
    kept: int
    classes: Mapping[int, tuple[int, int]]
    features: tuple[FeatureShift, ...]

    def to_text(self) -> str:
        """Return the difference as a table for a person."""
        counts = "  ".join(
            f"{label}: {now}" if now == before else f"{label}: {before} → {now}"
            for label, (before, now) in self.classes.items()
        )
        lines = [
            f"rows     {self.kept} kept, {self.added} added, {self.dropped} dropped",
            f"{TARGET:8} {counts}",
            f"{'median (range)':22} {'before':>26}   {'now':>26}  {'PSI':>5}  {'KS':>4}",
        ]
        for shift in self.features:
            unit = f"  {shift.unit}?" if shift.unit else ""
            lines.append(
                f"  {shift.name:20} {shift.before!s:>26} → {shift.after!s:>26}  {shift.psi:5.2f}  {shift.ks:4.2f}{unit}"
            )
        return "\n".join(lines)


def compare(old: pd.DataFrame, new: pd.DataFrame) -> TableDifference:
    """Return what ``new`` has changed of ``old``; both are as ``dataset.read`` returns them."""
    before, now = _count_rows(old), _count_rows(new)
    kept = (before & now).total()
    added = new[_is_added(new, before)]
    counts = [table[TARGET].value_counts() for table in (old, new)]
    classes = {label: (int(counts[0].get(label, 0)), int(counts[1].get(label, 0))) for label in CLASSES}
    features = tuple(
        _compare_feature(name, old[name].to_numpy(), new[name].to_numpy(), added[name].to_numpy())
        for name in FEATURE_NAMES
    )
    return TableDifference(len(new) - kept, len(old) - kept, kept, classes, features)


def added_rows(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``new`` that ``old`` lacks, a row that comes once more than before being one of them."""
    return new[_is_added(new, _count_rows(old))]


def find_in_table(table: pd.DataFrame, rule: DataRule) -> Iterator[Finding]:
    """Yield what is wrong with a table, whatever was before it."""
    if len(table) < rule.least_rows:
        yield Finding("few rows", f"{len(table)} rows, expected at least {rule.least_rows}")
    lost = [str(label) for label in CLASSES if not (table[TARGET] == label).any()]
    if lost:
        verb = "has" if len(lost) == 1 else "have"
        yield Finding("classes lost", f"{TARGET} {' and '.join(lost)} {verb} no row, so no {NAME} would be given it")


def find_in_difference(difference: TableDifference, rule: DataRule) -> Iterator[Finding]:
    """Yield what changed beyond the limits of ``rule``."""
    for shift in difference.features:
        if shift.surely > rule.shift or shift.far:
            yield Finding(f"{shift.name} shifted", _explain(shift))
    total = difference.kept + difference.dropped
    if difference.dropped > rule.lost_share * total:
        yield Finding(
            "rows lost", f"{difference.dropped} of {total} are gone or changed, expected at most {rule.lost_share:.0%}"
        )


def stability_index(old: np.ndarray, new: np.ndarray) -> float:
    """Return the population stability index over the old values' tenths; an empty tenth counts as half a row."""
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = []
    for values in (old, new):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        shares.append(np.maximum(counts, 0.5) / len(values))
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _explain(shift: FeatureShift) -> str:
    said = [f"median {shift.before.median:.4g} → {shift.after.median:.4g}", f"KS {shift.ks:.2f}"]
    if shift.far:
        said.append(f"{shift.far} row(s) lie far outside {shift.before.minimum:.4g} to {shift.before.maximum:.4g}")
    if shift.unit:
        said.append(f"looks like {shift.unit}")
    return ", ".join(said)


def _count_rows(table: pd.DataFrame) -> Counter[tuple[float, ...]]:
    return Counter(map(tuple, table[COLUMNS].to_numpy(float).tolist()))


def _is_added(table: pd.DataFrame, before: Counter[tuple[float, ...]]) -> list[bool]:
    left = before.copy()
    added = []
    for row in map(tuple, table[COLUMNS].to_numpy(float).tolist()):
        added.append(left[row] <= 0)
        left[row] -= 1
    return added


def _compare_feature(name: str, old: np.ndarray, new: np.ndarray, added: np.ndarray) -> FeatureShift:
    surely = max(_distance_beyond_chance(old, new), _distance_beyond_chance(old, added))
    width = old.max() - old.min()
    far = int(((added < old.min() - width) | (added > old.max() + width)).sum())
    return FeatureShift(
        name,
        _spread(old),
        _spread(new),
        stability_index(old, new),
        _distance(old, new),
        surely,
        far,
        _find_unit(old, added),
    )


def _spread(values: np.ndarray) -> Spread:
    return Spread(float(values.min()), float(np.median(values)), float(values.max()))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance: the largest gap between the two cumulative distributions."""
    points = np.concatenate([one, other])
    gaps = [np.searchsorted(np.sort(values), points, side="right") / len(values) for values in (one, other)]
    return float(np.abs(gaps[0] - gaps[1]).max())


def _distance_beyond_chance(one: np.ndarray, other: np.ndarray) -> float:
    if not len(one) or not len(other):
        return 0.0
    return _distance(one, other) - _BEYOND_CHANCE * float(np.sqrt(1 / len(one) + 1 / len(other)))


def _find_unit(old: np.ndarray, added: np.ndarray) -> str | None:
    """Return the change of units that takes the added rows' values back to the old ones', if one does and it is needed.

    A conversion must explain most of the distance, else any change of the wines would be called one.
    """
    if _distance_beyond_chance(old, added) <= 0:
        return None
    left = {name: _distance(old * factor, added) for name, factor in _FACTORS.items()}
    best = min(left, key=left.__getitem__)
    return best if left[best] < _distance(old, added) / 4 else None
