"""The metrics are scikit-learn's, also in each draw, and the promotion rule does what docs/gate.md says."""

import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench import gate
from src.config import PromotionRule
from src.core.metrics import Answers, Interval, _draw, bootstrap, decide, draw_differences, recall, score
from src.core.wine import CLASSES

RULE = PromotionRule()


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


def test_recall_is_told_for_each_class_that_has_rows() -> None:
    truth = np.array([3, 3, 4, 4, 8])
    assert recall(truth, np.array([3, 4, 4, 4, 5])) == {"3": 0.5, "4": 1.0, "8": 0.0}


def make_contenders(gap: float) -> tuple[np.ndarray, Answers, Answers]:
    """Return the truth of 292 rows in unequal classes, and two models of which the first is less noisy by ``gap``."""
    random = np.random.default_rng(3)
    truth = random.choice(CLASSES, 292, p=(0.02, 0.06, 0.4, 0.38, 0.1, 0.04))
    signal = truth[:, None] == np.array(CLASSES)

    def answer(noise: float) -> Answers:
        scores = np.exp(signal + random.normal(0, noise, signal.shape))
        return Answers(np.array(CLASSES)[scores.argmax(1)], scores / scores.sum(1, keepdims=True))

    return truth, answer(1.0), answer(1.0 + gap)


def test_each_draw_has_the_metrics_that_scikit_learn_gives_its_rows() -> None:
    truth, challenger, champion = make_contenders(0.5)
    rule = replace(RULE, draws=20)
    differences = draw_differences(truth, challenger, champion, CLASSES, rule)
    for number, weights in enumerate(_draw(truth, rule).astype(int)):
        rows = np.repeat(np.arange(len(truth)), weights)
        assert np.array_equal(np.sort(truth[rows]), np.sort(truth)), "each class keeps its number of rows"
        mine, other = (
            score(truth[rows], one.labels[rows], one.probabilities[rows], CLASSES) for one in (challenger, champion)
        )
        for name, values in differences.items():
            assert values[number] == pytest.approx(mine[name] - other[name], abs=2e-6)


def test_intervals_are_the_same_every_time_and_take_less_than_a_second() -> None:
    truth, challenger, champion = make_contenders(0.5)
    start = time.process_time()
    once = bootstrap(truth, challenger, champion, CLASSES, RULE)
    assert time.process_time() - start < 2  # seconds of both processors
    assert bootstrap(truth, challenger, champion, CLASSES, RULE) == once
    assert all(interval.low < interval.high for interval in once.values())


def test_equal_answers_differ_by_nothing() -> None:
    truth, challenger, _ = make_contenders(0)
    assert set(bootstrap(truth, challenger, challenger, CLASSES, RULE).values()) == {Interval(0, 0)}


RISES, FALLS = Interval(0.01, 0.05), Interval(-0.05, -0.01)
UNKNOWN, LITTLE = Interval(-0.012, 0.031), Interval(-0.009, 0)


@pytest.mark.parametrize(
    ("accuracy", "area", "data_changed", "promote", "words"),
    [
        (UNKNOWN, RISES, False, True, "better beyond chance on 292 wines: ROC_AUC 0.801 → 0.812 (+0.010 to +0.050)"),
        (RISES, LITTLE, False, True, "better beyond chance on 292 wines: Accuracy 0.600 → 0.620 (+0.010 to +0.050)"),
        (RISES, UNKNOWN, False, False, "ROC_AUC may fall by more than 0.01: −0.012 to +0.031; the champion stays"),
        (
            UNKNOWN,
            UNKNOWN,
            False,
            False,
            "ROC_AUC 0.801 → 0.812, but 292 wines cannot tell: −0.012 to +0.031; the champion stays",
        ),
        (
            FALLS,
            RISES,
            False,
            False,
            "worse beyond chance on 292 wines: Accuracy 0.600 → 0.620 (−0.050 to −0.010); the champion stays",
        ),
        (UNKNOWN, UNKNOWN, True, True, "the data changed, and nothing falls beyond chance on 292 wines"),
        (FALLS, UNKNOWN, True, False, "worse beyond chance"),
        (UNKNOWN, FALLS, True, False, "worse beyond chance"),
    ],
)
def test_a_challenger_is_promoted_for_what_chance_does_not_explain_or_for_new_data(
    accuracy: Interval, area: Interval, data_changed: bool, promote: bool, words: str
) -> None:
    mine, champion = {"Accuracy": 0.62, "ROC_AUC": 0.812}, {"Accuracy": 0.6, "ROC_AUC": 0.801}
    decision = decide(mine, champion, {"Accuracy": accuracy, "ROC_AUC": area}, 292, RULE, data_changed)
    assert decision.promote is promote
    assert words in decision.reason


@pytest.fixture(scope="module")
def population() -> gate.Population:
    return gate.read_population()


@pytest.mark.parametrize("noise", [gate.NOISE, gate.CLOSE])
def test_equally_good_challengers_are_rarely_promoted(population: gate.Population, noise: float) -> None:
    shares = gate.run(population, gate.Setting("equal", noise, noise), 200, folds=False, draws=500)
    assert shares[f"at {RULE.confidence:.0%}"] <= gate.ALLOWED < shares["at 90%"]
    assert shares["new data"] > 0.9


def test_much_better_challengers_are_found(population: gate.Population) -> None:
    worse = population.find_noise(gate.NOISE, 0.08)
    better = gate.Setting("better", gate.NOISE, worse), gate.Setting("worse", worse, gate.NOISE)
    found, lost = (gate.run(population, setting, 50, folds=False, draws=500) for setting in better)
    assert found[f"at {RULE.confidence:.0%}"] >= 0.85
    assert lost["new data"] <= 0.1 and lost["at 90%"] == 0
