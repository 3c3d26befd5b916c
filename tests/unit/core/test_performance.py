"""What live answers are worth: intervals hold the truth as often as they say, with labels and without."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from src.config import PERFORMANCE_RULE
from src.core import performance, profile
from src.core.metrics import Answers, _draw, bootstrap_scores, score
from tests.unit.core.test_metrics import make_contenders

RULE = replace(PERFORMANCE_RULE, draws=200)
CLASSES = (3, 4, 5, 6, 7, 8)


def answer(rows: int, seed: int) -> tuple[np.ndarray, Answers]:
    """Return the truth of rows, and a model that is less sure than it should be."""
    random = np.random.default_rng(seed)
    truth = random.integers(3, 6, rows)
    scores = np.exp(
        (truth[:, None] == np.array([3, 4, 5])) * random.uniform(0, 3, (rows, 1)) + random.normal(0, 1, (rows, 3))
    )
    probabilities = scores / scores.sum(1, keepdims=True)
    return truth, Answers(probabilities.argmax(1) + 3, np.sqrt(probabilities) / np.sqrt(probabilities).sum(1)[:, None])


def test_the_expected_accuracy_holds_the_true_one_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        truth, answers = answer(292, 2 * seed)
        described = profile.describe(["a"], np.zeros((9, 1)), truth, answers.labels, answers.probabilities)
        live, answered = answer(300, 2 * seed + 1)
        estimate = performance.expect_accuracy(answered.probabilities, described, 0.6, RULE)
        held += estimate.low <= (answered.labels == live).mean() <= estimate.high
    assert 88 <= held <= 100


def test_intervals_are_the_middle_of_what_the_draws_score() -> None:
    truth, answers, _ = make_contenders(0.5)
    rule = replace(RULE, draws=100)
    intervals = bootstrap_scores(truth, answers, CLASSES, rule)
    drawn = []
    for weights in _draw(truth, rule).astype(int):
        rows = np.repeat(np.arange(len(truth)), weights)
        drawn.append(score(truth[rows], answers.labels[rows], answers.probabilities[rows], CLASSES))
    for name, interval in intervals.items():
        low, high = np.quantile([one[name] for one in drawn], (0.025, 0.975))
        assert tuple(interval) == pytest.approx((low, high), abs=1e-5)


def test_the_metrics_stand_beside_those_of_the_test_rows() -> None:
    truth, answers, _ = make_contenders(0.5)
    test: Mapping[str, float] = {"Accuracy": 0.61, "ROC_AUC": 0.8}
    release: Any = SimpleNamespace(provenance=SimpleNamespace(classes=CLASSES), metrics=SimpleNamespace(test=test))
    found = performance.measure(truth, answers, release, RULE)
    assert {name: one.value for name, one in found.items()} == score(
        truth, answers.labels, answers.probabilities, CLASSES
    )
    assert [one.test for one in found.values()] == [0.61, None, 0.8]
    assert all(one.low < one.value < one.high for one in found.values())
    assert found == performance.measure(truth, answers, release, RULE)
