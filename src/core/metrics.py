"""Accuracy, F1_score and ROC_AUC of predictions, and the comparison of a challenger with the champion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from src.config import PromotionRule

Metrics = Mapping[str, float]
DECIMALS = 6  # beyond these, processors differ


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


@dataclass(frozen=True)
class Decision:
    """Whether to promote the challenger, and why, in words for a person."""

    promote: bool
    reason: str


def compare(challenger: Metrics, champion: Metrics, rule: PromotionRule) -> Decision:
    """Decide from both sides' metrics on the same rows."""
    lost = [name for name in challenger if challenger[name] < champion[name] - rule.tolerance]
    if challenger["ROC_AUC"] <= champion["ROC_AUC"]:
        return Decision(False, f"ROC_AUC did not rise: {_change('ROC_AUC', challenger, champion)}")
    if lost:
        falls = ", ".join(_change(name, challenger, champion) for name in lost)
        return Decision(False, f"ROC_AUC rose, but more than {rule.tolerance:g} was lost: {falls}")
    return Decision(True, f"ROC_AUC rose: {_change('ROC_AUC', challenger, champion)}")


def _change(name: str, challenger: Metrics, champion: Metrics) -> str:
    return f"{name} {champion[name]:.4f} → {challenger[name]:.4f}"
