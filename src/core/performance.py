"""How good live answers are: measured where labels are there, else expected of what calibrated probabilities say."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import norm

from src.config import PerformanceRule
from src.core import metrics
from src.core.day_figures import Estimate
from src.core.metrics import Answers
from src.core.profile import Profile
from src.core.release import Release

DECIMALS = metrics.DECIMALS


def expect_accuracy(probabilities: np.ndarray, profile: Profile, test: float | None, rule: PerformanceRule) -> Estimate:
    """Return the accuracy that probabilities (rows, classes) let expect: confidence-based estimation, CBPE.

    Its interval has what chance does with so many wines, and with the test rows that calibration was learnt from.
    """
    expected = profile.calibration.expect(probabilities.max(axis=1))
    mean = float(expected.mean())
    variance = float((expected * (1 - expected)).mean()) / len(expected) + mean * (1 - mean) / profile.test_rows
    width = float(norm.ppf((1 + rule.confidence) / 2)) * variance**0.5
    return _estimate(mean, mean - width, mean + width, test)


def measure(truth: np.ndarray, answers: Answers, release: Release, rule: PerformanceRule) -> Mapping[str, Estimate]:
    """Return the three metrics of labelled wines beside those of the test rows.

    Raises:
        ValueError: the labels are of fewer than two classes.

    """
    classes = release.provenance.classes
    values = metrics.score(truth, answers.labels, answers.probabilities, classes)
    intervals = metrics.bootstrap_scores(truth, answers, classes, rule)
    test = release.metrics.test
    return {name: _estimate(value, *intervals[name], test.get(name)) for name, value in values.items()}


def _estimate(value: float, low: float, high: float, test: float | None) -> Estimate:
    low, high = (round(float(min(max(end, 0), 1)), DECIMALS) for end in (low, high))
    return Estimate(value=round(value, DECIMALS), low=low, high=high, test=test)
