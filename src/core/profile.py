"""What a release keeps of the wines that it was made from, so that live wines are set beside them without any table."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from src.core.formats import Stored

QUANTILES = 200  # of a feature: any share of its rows is known to a quarter of a percent
BINS = 10  # of calibration, with as many test rows each
DECIMALS = 6  # beyond these, processors differ


class FeatureQuantiles(BaseModel):
    """A feature's quantiles on train at the middles of as many equal steps, so that they are read as a sample of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str
    quantiles: tuple[float, ...] = Field(min_length=1)


class Calibration(BaseModel):
    """How often the model is right where it is so confident: the means of both, in bins of test rows, ascending."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    confidence: tuple[float, ...] = Field(min_length=1, examples=[[0.62]])
    accuracy: tuple[float, ...] = Field(min_length=1, examples=[[0.6]])

    def expect(self, confidence: np.ndarray) -> np.ndarray:
        """Return the probability that each answer is right whose highest probability is ``confidence``."""
        expected: np.ndarray = np.interp(confidence, self.confidence, self.accuracy)
        return expected


class Profile(Stored):
    """``rows`` and ``features`` are of train; ``test_rows``, the ``predicted`` classes and ``calibration`` of test."""

    rows: int = Field(ge=1)
    features: tuple[FeatureQuantiles, ...]
    test_rows: int = Field(ge=1)
    predicted: Mapping[str, int]
    calibration: Calibration


def describe(
    names: Sequence[str], train: np.ndarray, truth: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> Profile:
    """Return the profile of train's features (rows, features), and of a model's answers to the test rows."""
    classes, counts = np.unique(labels, return_counts=True)
    return Profile(
        rows=len(train),
        features=tuple(
            FeatureQuantiles(name=name, quantiles=tuple(take_quantiles(values)))
            for name, values in zip(names, train.T, strict=True)
        ),
        test_rows=len(truth),
        predicted={str(label): int(count) for label, count in zip(classes, counts, strict=True)},
        calibration=calibrate(probabilities.max(axis=1), labels == truth),
    )


def calibrate(confidence: np.ndarray, hits: np.ndarray) -> Calibration:
    """Return how often answers of this confidence (rows,) hit the truth."""
    confidence = np.round(confidence.astype(float), DECIMALS)
    order = np.argsort(confidence, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    return Calibration(
        confidence=tuple(round(float(confidence[rows].mean()), DECIMALS) for rows in bins),
        accuracy=tuple(round(float(hits[rows].mean()), DECIMALS) for rows in bins),
    )


def take_quantiles(values: np.ndarray) -> list[float]:
    """Return the quantiles that a profile keeps of a feature; each is one of the values."""
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found: list[float] = np.quantile(values, levels, method="inverted_cdf").tolist()
    return found
