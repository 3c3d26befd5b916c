"""Accuracy, F1_score and ROC_AUC of predictions, and whether one model is better than another beyond chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from src.config import PerformanceRule, PromotionRule
from src.core import wine

Metrics = Mapping[str, float]
DECIMALS = 6  # beyond these, processors differ


@dataclass(frozen=True)
class Answers:
    """What a model answers about rows: ``labels`` (rows,) and ``probabilities`` (rows, classes)."""

    labels: np.ndarray
    probabilities: np.ndarray


class Interval(NamedTuple):
    """Where a figure lies, or a difference, challenger minus champion, at the rule's confidence."""

    low: float
    high: float

    def __str__(self) -> str:
        """Return it in words, with three decimals."""
        return f"{signed(self.low)} to {signed(self.high)}"


@dataclass(frozen=True)
class Decision:
    """Whether to promote the challenger, and why, in words for a person."""

    promote: bool
    reason: str


def score(truth: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[int]) -> dict[str, float]:
    """Return Accuracy, F1_score (weighted) and ROC_AUC (one-vs-rest, mean over the classes present in ``truth``).

    ``truth`` and ``labels`` have shape (rows,), ``probabilities`` (rows, classes) in the order of ``classes``.

    Raises:
        ValueError: ``truth`` holds fewer than two classes.

    """
    present = [(column, label) for column, label in enumerate(classes) if (truth == label).any()]
    if len(present) < 2:
        raise ValueError(f"ROC_AUC needs rows of two classes or more, got {len(truth)} row(s) of {len(present)}")
    areas = [roc_auc_score(truth == label, probabilities[:, column]) for column, label in present]
    values = {
        "Accuracy": accuracy_score(truth, labels),
        "F1_score": f1_score(truth, labels, average="weighted", zero_division=0),
        "ROC_AUC": np.mean(areas),
    }
    return {name: round(float(value), DECIMALS) for name, value in values.items()}


def recall(truth: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return for each class in ``truth`` the share of its rows that were labelled so."""
    present = np.unique(truth)
    shares = recall_score(truth, labels, labels=present, average=None, zero_division=0)
    return {str(label): round(float(share), DECIMALS) for label, share in zip(present, shares, strict=True)}


def bootstrap(
    truth: np.ndarray, challenger: Answers, champion: Answers, classes: Sequence[int], rule: PromotionRule
) -> dict[str, Interval]:
    """Return the interval of each metric's difference between two models that answered the same rows.

    Equal input gives equal intervals.
    """
    return find_intervals(draw_differences(truth, challenger, champion, classes, rule), rule.confidence)


def bootstrap_scores(
    truth: np.ndarray, answers: Answers, classes: Sequence[int], rule: PerformanceRule
) -> dict[str, Interval]:
    """Return the interval of each metric of one model; the draws are those of :func:`draw_differences`."""
    weights = _draw(truth, rule)
    draws = {
        "Accuracy": weights @ ((answers.labels == truth) * 1.0) / len(truth),
        "F1_score": _f1_scores(truth, answers.labels, weights),
        "ROC_AUC": _areas(truth, answers, classes, weights),
    }
    return find_intervals(draws, rule.confidence)


def draw_differences(
    truth: np.ndarray, challenger: Answers, champion: Answers, classes: Sequence[int], rule: PromotionRule
) -> dict[str, np.ndarray]:
    """Return each metric's difference in ``rule.draws`` draws: a paired, stratified bootstrap.

    A draw takes rows of each class from that class, as many as it has, and the same rows for both models.
    """
    weights = _draw(truth, rule)
    return {
        "Accuracy": weights @ ((challenger.labels == truth) * 1.0 - (champion.labels == truth)) / len(truth),
        "F1_score": _f1_scores(truth, challenger.labels, weights) - _f1_scores(truth, champion.labels, weights),
        "ROC_AUC": _areas(truth, challenger, classes, weights, champion),
    }


def find_intervals(differences: Mapping[str, np.ndarray], confidence: float) -> dict[str, Interval]:
    """Return the middle ``confidence`` of each metric's draws."""
    tail = (1 - confidence) / 2
    bounds = {name: np.quantile(values, (tail, 1 - tail)) for name, values in differences.items()}
    return {name: Interval(*(round(float(bound), DECIMALS) for bound in pair)) for name, pair in bounds.items()}


def decide(
    challenger: Metrics,
    champion: Metrics,
    intervals: Mapping[str, Interval],
    rows: int,
    rule: PromotionRule,
    data_changed: bool = False,
) -> Decision:
    """Decide from both sides' metrics on the same ``rows``, and the intervals of their differences.

    A challenger that falls beyond chance anywhere is not promoted. One that rises beyond chance is, where ROC_AUC's
    lower bound is above ``-rule.margin``; so is one of changed data: what knows more wines is preferred when not worse.
    """

    def show(*names: str) -> str:
        return ", ".join(f"{name} {champion[name]:.3f} → {challenger[name]:.3f} ({intervals[name]})" for name in names)

    def stays(why: str) -> Decision:
        return Decision(False, f"{why}; the champion stays")

    rows_said = f"{rows} {wine.NAME}s"
    area = intervals["ROC_AUC"]
    risen = [name for name, interval in intervals.items() if interval.low > 0]
    fallen = [name for name, interval in intervals.items() if interval.high < 0]
    if fallen:
        return stays(f"worse beyond chance on {rows_said}: {show(*fallen)}")
    if risen and area.low > -rule.margin:
        return Decision(True, f"better beyond chance on {rows_said}: {show(*risen)}")
    if data_changed:
        return Decision(True, f"the data changed, and nothing falls beyond chance on {rows_said}: {show('ROC_AUC')}")
    if risen:
        return stays(f"better beyond chance: {show(*risen)}, but ROC_AUC may fall by more than {rule.margin:g}: {area}")
    change = f"ROC_AUC {champion['ROC_AUC']:.3f} → {challenger['ROC_AUC']:.3f}"
    return stays(f"{change}, but {rows_said} cannot tell: {area}")


def signed(number: float) -> str:
    """Return a difference with its sign and three decimals."""
    return f"{number:+.3f}".replace("-", "−")


def _draw(truth: np.ndarray, rule: PromotionRule | PerformanceRule) -> np.ndarray:
    """Return how often each draw took each row: (draws, rows)."""
    random = np.random.default_rng(rule.seed)
    weights = np.empty((rule.draws, len(truth)), np.float32)
    for label in np.unique(truth):
        rows = np.flatnonzero(truth == label)
        taken = random.integers(len(rows), size=(rule.draws, len(rows))) + len(rows) * np.arange(rule.draws)[:, None]
        weights[:, rows] = np.bincount(taken.ravel(), minlength=taken.size).reshape(taken.shape)
    return weights


def _f1_scores(truth: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return each draw's weighted F1_score; the number of rows of a class is the same in all draws."""
    total = np.zeros(len(weights))
    for label, support in zip(*np.unique(truth, return_counts=True), strict=True):
        labelled = weights @ (labels == label).astype(np.float32)
        hits = weights @ ((labels == label) & (truth == label)).astype(np.float32)
        total += support * 2 * hits / (labelled + support)
    return total / len(truth)


def _areas(
    truth: np.ndarray,
    answers: Answers,
    classes: Sequence[int],
    weights: np.ndarray,
    beside: Answers | None = None,
) -> np.ndarray:
    """Return each draw's ROC_AUC, or how much higher it is than that of the answers ``beside``.

    A class's area is the share of pairs, one row of the class and one other, in which the former has the higher
    probability. Pairs are compared once, and a draw only weighs them.
    """
    areas = []
    for column, label in enumerate(classes):
        own = truth == label
        if own.any():
            gain = _wins(answers.probabilities[:, column], own)
            if beside is not None:
                gain -= _wins(beside.probabilities[:, column], own)
            pairs = np.einsum("do,do->d", weights[:, own], weights[:, ~own] @ gain.T)
            areas.append(pairs / gain.size)
    mean: np.ndarray = np.mean(areas, axis=0)
    return mean


def _wins(probabilities: np.ndarray, own: np.ndarray) -> np.ndarray:
    mine, others = probabilities[own][:, None], probabilities[~own][None]
    wins: np.ndarray = ((mine > others) + (mine == others) / 2).astype(np.float32)
    return wins
