"""How far live wines are from those that a release was made from, beyond what so few of them can tell by chance."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import kolmogi, kolmogorov
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from src.config import DriftRule
from src.core.day_figures import Drift, FeatureDrift, MixDrift
from src.core.profile import Profile
from src.core.table_difference import stability_index

LEAST_EXPECTED = 5  # wines of a class, below which chi-square is no longer what its table says
DECIMALS = 6  # beyond these, processors differ


def measure(rows: np.ndarray, predicted: np.ndarray, profile: Profile, rule: DriftRule) -> Drift:
    """Set live wines (rows, features), and the classes predicted of them, beside a release's profile."""
    mix = {str(label): int(count) for label, count in zip(*np.unique(predicted, return_counts=True), strict=True)}
    chi_square, chance = compare_mix(profile.predicted, mix)
    distances = [
        float(ks_2samp(np.array(feature.quantiles), values, method="asymp").statistic)
        for feature, values in zip(profile.features, rows.T, strict=True)
    ]
    size = profile.rows * len(rows) / (profile.rows + len(rows))
    corrected = holm([*kolmogorov(np.sqrt(size) * np.array(distances)).tolist(), chance])
    width = kolmogi(1 - rule.confidence) / np.sqrt(size)
    features = tuple(
        _describe(feature.name, np.array(feature.quantiles), values, distance, width, p, rule)
        for feature, values, distance, p in zip(profile.features, rows.T, distances, corrected, strict=False)
    )
    return Drift(rows=len(rows), features=features, mix=_describe_mix(profile, mix, chi_square, corrected[-1], rule))


def compare_mix(expected: Mapping[str, int], found: Mapping[str, int]) -> tuple[float, float]:
    """Return chi-square of two counts by class, and how often chance is that far; rare classes join a neighbour."""
    classes = sorted(expected.keys() | found.keys(), key=int)
    table = np.array([[counts.get(label, 0) for label in classes] for counts in (expected, found)], float)
    while table.shape[1] > 1:
        least = (table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()).min(axis=0)
        rarest = int(least.argmin())
        if least[rarest] >= LEAST_EXPECTED:
            result = chi2_contingency(table, correction=False)
            return float(result.statistic), float(result.pvalue)
        neighbours = [place for place in (rarest - 1, rarest + 1) if 0 <= place < len(least)]
        into = min(neighbours, key=lambda place: least[place])
        table[:, into] += table[:, rarest]
        table = np.delete(table, rarest, axis=1)
    return 0.0, 1.0


def holm(chances: Sequence[float]) -> list[float]:
    """Return the chances of several tests, each corrected for all of them (Holm, 1979)."""
    order = np.argsort(chances, kind="stable")
    corrected = np.maximum.accumulate(np.array(chances)[order] * np.arange(len(chances), 0, -1))
    back = np.empty(len(chances))
    back[order] = np.minimum(corrected, 1)
    found: list[float] = back.tolist()
    return found


def _describe(
    name: str, seen: np.ndarray, live: np.ndarray, distance: float, width: float, p: float, rule: DriftRule
) -> FeatureDrift:
    spread = float(seen.std())
    return FeatureDrift(
        name=name,
        stability_index=round(stability_index(seen, live), DECIMALS),
        distance=round(distance, DECIMALS),
        low=round(max(distance - width, 0), DECIMALS),
        high=round(min(distance + width, 1), DECIMALS),
        wasserstein=round(float(wasserstein_distance(seen, live)) / spread, DECIMALS) if spread else 0.0,
        p=round(p, DECIMALS),
        drifted=p < rule.false_alarms and distance >= rule.distance,
    )


def _describe_mix(profile: Profile, mix: Mapping[str, int], chi_square: float, p: float, rule: DriftRule) -> MixDrift:
    classes = sorted(profile.predicted.keys() | mix.keys(), key=int)
    expected, found = (
        {label: round(counts.get(label, 0) / sum(counts.values()), DECIMALS) for label in classes}
        for counts in (profile.predicted, mix)
    )
    distance = sum(abs(found[label] - expected[label]) for label in classes) / 2
    return MixDrift(
        expected=expected,
        found=found,
        chi_square=round(chi_square, DECIMALS),
        distance=round(distance, DECIMALS),
        p=round(p, DECIMALS),
        drifted=p < rule.false_alarms and distance >= rule.distance,
    )
