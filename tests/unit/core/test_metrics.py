"""The metrics are scikit-learn's, and the promotion rule is the documented one."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from src.config import PromotionRule
from src.core.metrics import compare, score

RULE = PromotionRule(tolerance=0.01)
CHAMPION = {"Accuracy": 0.6, "F1_score": 0.58, "ROC_AUC": 0.8}


def test_roc_auc_is_the_macro_one_vs_rest_of_scikit_learn() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 3, 200)
    probabilities = random.dirichlet(np.ones(3), 200)
    metrics = score(truth, probabilities.argmax(1), probabilities, (0, 1, 2))
    expected = roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    assert metrics["ROC_AUC"] == pytest.approx(expected, abs=1e-6)
    assert metrics["Accuracy"] == pytest.approx((truth == probabilities.argmax(1)).mean(), abs=1e-6)


def test_classes_without_rows_are_left_out_of_roc_auc() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.2, 0.8, 0.0], [0.3, 0.6, 0.1]])
    assert score(truth, probabilities.argmax(1), probabilities, (0, 1, 2))["ROC_AUC"] == 1


def test_one_class_alone_has_no_roc_auc() -> None:
    with pytest.raises(ValueError, match="two classes"):
        score(np.array([1]), np.array([1]), np.array([[0.0, 1.0]]), (0, 1))


@pytest.mark.parametrize(
    ("challenger", "promote", "words"),
    [
        (CHAMPION, False, "did not rise"),
        (CHAMPION | {"ROC_AUC": 0.79}, False, "did not rise: ROC_AUC 0.8000 → 0.7900"),
        (CHAMPION | {"ROC_AUC": 0.81}, True, "rose: ROC_AUC 0.8000 → 0.8100"),
        (CHAMPION | {"ROC_AUC": 0.81, "Accuracy": 0.595}, True, "rose"),
        (CHAMPION | {"ROC_AUC": 0.81, "Accuracy": 0.58}, False, "more than 0.01 was lost: Accuracy 0.6000 → 0.5800"),
        (CHAMPION | {"ROC_AUC": 0.81, "F1_score": 0.5}, False, "lost: F1_score"),
    ],
)
def test_a_challenger_must_raise_roc_auc_and_lose_nothing_else(
    challenger: dict[str, float], promote: bool, words: str
) -> None:
    decision = compare(challenger, CHAMPION, RULE)
    assert decision.promote is promote
    assert words in decision.reason
