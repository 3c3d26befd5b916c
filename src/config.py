"""What a person may change: hyper-parameters, grid, and the rules of split, data, promotion and monitoring."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
DATA_POINTER = PROJECT / "data.dvc"

MODEL = "LogisticRegression"
PARAMETERS: dict[str, Any] = {
    "C": 10.0,
    "l1_ratio": 0,  # the l2 penalty, as scikit-learn 1.9 spells it
    "solver": "lbfgs",
    "class_weight": None,
    "max_iter": 1000,
    "random_state": 42,
}
# What the search measured when it chose these parameters (task LR_31).
FIGURES: dict[str, dict[str, float]] = {
    "cv": {"Accuracy": 0.583791, "F1_score": 0.564312, "ROC_AUC": 0.80483},
    "train": {"Accuracy": 0.597552, "F1_score": 0.577057, "ROC_AUC": 0.852261},
    "test": {"Accuracy": 0.613014, "F1_score": 0.593457, "ROC_AUC": 0.801029},
}

# What `python -m src.learn_models` tries: every trial of the listed values, in this order.
GRID: dict[str, dict[str, list[Any]]] = {
    "RandomForestClassifier": {
        "max_depth": [4, 8, 12, None],
        "min_samples_leaf": [1, 2, 5, 10],
        "n_estimators": [100, 200],
        "random_state": [42],
    },
    "LogisticRegression": {
        "C": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
        "class_weight": [None, "balanced"],
        "solver": ["lbfgs", "newton-cg", "newton-cholesky"],
        "l1_ratio": [0],  # l2, the penalty that every multiclass solver knows
        "max_iter": [1000],
        "random_state": [42],
    },
}
TASK_PREFIXES = {"RandomForestClassifier": "RFC", "LogisticRegression": "LR"}


@dataclass(frozen=True)
class SplitRule:
    """Which rows are held out: those whose salted feature hash falls in the first ``test_share`` of all hashes."""

    salt: str = "red-wine"
    test_share: float = 0.2


@dataclass(frozen=True)
class DataRule:
    """What a new table may change before a person must accept it; docs/data.md tells how each was chosen.

    ``shift`` is the Kolmogorov-Smirnov distance of a feature beyond chance: half a standard deviation gives 0.2.
    ``falls_by_chance`` is how often a champion on wines like its own may seem to have fallen.
    """

    least_rows: int = 100  # of fewer, fewer than 20 are held out, and no metric tells anything
    lost_share: float = 0.1  # a correction touches fewer rows; more is another table
    shift: float = 0.15
    falls_by_chance: float = 0.01
    least_of_class: int = 10  # held-out wines, below which a class's ROC_AUC has no interval
    draws: int = 1000
    seed: int = 42


@dataclass(frozen=True)
class DriftRule:
    """When live wines differ from those of train; docs/monitoring.md tells how often that errs, and what it misses.

    ``false_alarms`` is the share of quiet days on which any of the day's tests may seem to differ. What is nearer than
    ``distance`` harms no model, however many wines tell of it: half a standard deviation of a feature gives 0.2.
    """

    least_rows: int = 50  # different wines; fewer find only what everybody would see
    false_alarms: float = 0.01
    distance: float = 0.1
    confidence: float = 0.95  # of a feature's interval


@dataclass(frozen=True)
class PerformanceRule:
    """How sure the figures of labelled wines are: intervals have ``confidence``, and come from ``draws`` of them."""

    least_labels: int = 30  # of fewer, no figure tells anything
    confidence: float = 0.95
    draws: int = 2000
    seed: int = 42


@dataclass(frozen=True)
class PromotionRule:
    """What "better beyond chance" means; docs/gate.md shows what these numbers let through, and what they miss.

    ROC_AUC may fall by ``margin`` at most where another metric rises. Intervals have ``confidence`` and come from
    ``draws`` of the held-out rows. The same held-out rows decide on ``looks`` releases, and then fresh ones are needed.
    """

    margin: float = 0.01
    confidence: float = 0.98
    draws: int = 10_000
    seed: int = 42
    looks: int = 50


@dataclass(frozen=True)
class ReplayRule:
    """On how much logged traffic a challenger is tried before it is promoted, and how much of it may be answered anew.

    Where more than ``max_disagreement`` of the wines would get another class, a person decides: on this table the same
    model of other rows changes up to 14 %, a random forest 18 %, balanced class weights 36 %.
    """

    days: int = 2  # yesterday, and what today has so far
    rows: int = 10_000  # the latest; more tell nothing new
    least_rows: int = 100  # fewer hold no challenger: of 100 the share is known to within a tenth
    max_disagreement: float = 0.25


@dataclass(frozen=True)
class GuardRule:
    """When labels say that the champion is worse than the release it replaced, on the same wines.

    It is asked every day, so that chance has many tries: the confidence is higher than that of the promotion.
    """

    least_rows: int = 100
    days: int = 90  # since the promotion, and no further back
    confidence: float = 0.998
    draws: int = 10_000
    seed: int = 42


@dataclass(frozen=True)
class SearchRule:
    """Cross-validation inside train picks the parameters; scores equal to ``decimals`` are ties, won by the first."""

    metric: str = "ROC_AUC"
    folds: int = 5
    decimals: int = 3
    seed: int = 42


@dataclass(frozen=True)
class AlertRule:
    """How often the service is asked how it is, and after how long it is told that it, or its store, is unreachable."""

    check_minutes: int = 10
    unreachable_minutes: int = 10


@dataclass(frozen=True)
class Limits:
    """How much one pointer may name: so many files, and so many bytes in all of them."""

    files: int
    size: int


# The bucket is shared: what it says of itself is read up to these bounds and not further.
MAX_POINTER_BYTES = 64 * 2**10  # a pointer with its provenance has 2 KiB
MAX_LISTING_BYTES = 2**20  # 1,000 files take 100 KiB
RELEASE_LIMITS = Limits(files=16, size=64 * 2**20)  # the largest candidate has 5 MiB, and a container 512 MiB
DATA_LIMITS = Limits(files=1000, size=2 * 2**30)  # what a task can hold in memory

SPLIT = SplitRule()
DATA_RULE = DataRule()
DRIFT_RULE = DriftRule()
PERFORMANCE_RULE = PerformanceRule()
PROMOTION_RULE = PromotionRule()
REPLAY_RULE = ReplayRule()
GUARD_RULE = GuardRule()
SEARCH_RULE = SearchRule()
ALERT_RULE = AlertRule()
