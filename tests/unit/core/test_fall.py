"""A model's ROC_AUC on new wines beside the old one: a fall is told from chance."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from src.config import DATA_RULE, MODEL, PARAMETERS
from src.core import dataset, fall, models
from src.core.wine import CLASSES, TARGET


@pytest.fixture(scope="module")
def answers(data_csv: Path) -> tuple[fall.Answers, pd.DataFrame, np.ndarray]:
    """Return a model's answers for half of the wines that it does not know, and the other half with its own."""
    wines = dataset.read(data_csv).drop_duplicates(dataset.FEATURE_NAMES).sample(frac=1, random_state=1)
    model = models.fit(MODEL, PARAMETERS, wines[:700])
    before, now = wines[700:1030], wines[1030:]
    first, second = (model.predict_proba(table[dataset.FEATURE_NAMES]) for table in (before, now))
    return fall.Answers(before[TARGET].to_numpy(), first), now, second


def measure(answers: tuple[fall.Answers, pd.DataFrame, np.ndarray], truth: np.ndarray) -> fall.Change:
    change = fall.measure(answers[0], fall.Answers(truth, answers[2]), CLASSES, DATA_RULE)
    assert change
    return change


def test_other_wines_of_the_same_kind_are_no_fall(answers: tuple[fall.Answers, pd.DataFrame, np.ndarray]) -> None:
    before, now = answers[0], fall.Answers(answers[1][TARGET].to_numpy(), answers[2])
    changes = [fall.measure(*samples, CLASSES, DATA_RULE) for samples in ((before, now), (now, before))]
    assert not any(change is None or change.fell for change in changes)


def test_grades_that_were_turned_round_or_mixed_are_a_fall(
    answers: tuple[fall.Answers, pd.DataFrame, np.ndarray],
) -> None:
    truth = answers[1][TARGET].to_numpy()
    assert measure(answers, 11 - truth).fell
    assert measure(answers, np.random.default_rng(1).permutation(truth)).fell


def test_the_area_is_that_of_scikit_learn_over_the_classes_with_enough_wines(
    answers: tuple[fall.Answers, pd.DataFrame, np.ndarray],
) -> None:
    old = answers[0]
    rounded = fall.Answers(old.truth, old.probabilities.round(1))  # many ties
    change = fall.measure(rounded, rounded, CLASSES, DATA_RULE)
    counts = {label: int((old.truth == label).sum()) for label in CLASSES}
    enough = [column for column, label in enumerate(CLASSES) if counts[label] >= DATA_RULE.least_of_class]
    areas = [roc_auc_score(old.truth == CLASSES[column], rounded.probabilities[:, column]) for column in enough]
    assert change and 2 <= len(enough) < len(CLASSES)
    assert change.before == change.now == pytest.approx(np.mean(areas))


def test_too_few_wines_tell_nothing(answers: tuple[fall.Answers, pd.DataFrame, np.ndarray]) -> None:
    few = fall.Answers(answers[1][TARGET].to_numpy()[:12], answers[2][:12])
    assert fall.measure(answers[0], few, CLASSES, DATA_RULE) is None
