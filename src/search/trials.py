"""The hyper-parameter search: which trials there are, and how one is scored.

Cross-validation inside train chooses; test is only reported, so that its figures stay those of unseen rows.
"""

import hashlib
import io
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from src.config import GRID, SEARCH_RULE, SPLIT, TASK_PREFIXES
from src.core import dataset, metrics, models
from src.core.metrics import Metrics
from src.core.wine import CLASSES, TARGET
from src.errors import SearchError


@dataclass(frozen=True)
class Trial:
    """One point of the grid; ``task`` (``LR_7``) numbers its ClearML task and its saved model."""

    task: str
    model: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """A trial's scores by part ("cv", "train", "test"), its confusion on test (truth, label), or its error."""

    task: str
    model: str
    parameters: Mapping[str, Any]
    scores: Mapping[str, Metrics] = field(default_factory=dict)
    confusion: Sequence[Sequence[int]] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def gap(self) -> Metrics:
        """Return by how much each metric is better on train than on test."""
        train, test = self.scores["train"], self.scores["test"]
        return {name: round(train[name] - test[name], metrics.DECIMALS) for name in test}


@dataclass(frozen=True)
class Rows:
    """What a search works on: train, test, and the folds of train as (positions to fit, positions to score)."""

    train: pd.DataFrame
    test: pd.DataFrame
    folds: Sequence[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def split(cls, table: pd.DataFrame) -> "Rows":
        """Split by content, as the daily run does; then train into stratified folds that no copies of a row straddle.

        Raises:
            DataError: a part would be unusable.

        """
        train, test = dataset.split(table, SPLIT)
        splitter = StratifiedGroupKFold(SEARCH_RULE.folds, shuffle=True, random_state=SEARCH_RULE.seed)
        return cls(train, test, list(splitter.split(train, train[TARGET], dataset.hash_rows(train, ""))))

    @property
    def fingerprint(self) -> str:
        """Return a name for all that scores depend on besides the trial: rows, rule and library version."""
        parts = [self.train.to_csv(index=False), self.test.to_csv(index=False), repr(SEARCH_RULE), sklearn.__version__]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def list_trials(names: Sequence[str], limit: int | None = None) -> list[Trial]:
    """Return the grid's trials of the models ``names``, the first ``limit`` of each.

    Raises:
        SearchError: the grid has no such model.

    """
    unknown = [name for name in names if name not in GRID]
    if unknown:
        raise SearchError(f"{unknown[0]!r} is not in the grid, expected one of {', '.join(GRID)}")
    return [one for name in names for one in _expand(name)[:limit]]


def evaluate(trial: Trial, rows: Rows) -> tuple[Result, bytes]:
    """Cross-validate on train, fit on all of it, score train and test; returns the result and the pickled model.

    A trial that raises, or does not converge, gives a result with its error and no bytes.
    """
    started = time.perf_counter()
    what = (trial.task, trial.model, trial.parameters)
    try:
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("error", ConvergenceWarning)
            folds = [_score_fold(trial, rows.train, fit, rest) for fit, rest in rows.folds]
            fitted = models.fit(trial.model, trial.parameters, rows.train)
            scores = {"cv": _mean(folds), "train": score(fitted, rows.train), "test": score(fitted, rows.test)}
            confusion = _count_confusions(fitted, rows.test)
    except Exception as error:  # whatever one trial raises is its result: the others go on
        return Result(*what, seconds=_since(started), error=f"{type(error).__name__}: {error}"), b""
    return Result(*what, scores, confusion, _since(started)), _pickle(fitted)


def _expand(name: str) -> list[Trial]:
    axes = GRID[name]
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return [Trial(f"{TASK_PREFIXES[name]}_{number}", name, point) for number, point in enumerate(points, 1)]


def _score_fold(trial: Trial, train: pd.DataFrame, fit: np.ndarray, rest: np.ndarray) -> dict[str, float]:
    fitted = models.fit(trial.model, trial.parameters, train.iloc[fit])
    return score(fitted, train.iloc[rest])


def score(fitted: Pipeline, table: pd.DataFrame) -> dict[str, float]:
    probabilities = fitted.predict_proba(table[dataset.FEATURE_NAMES])
    labels = fitted.classes_[probabilities.argmax(axis=1)]
    return metrics.score(table[TARGET].to_numpy(), labels, probabilities, fitted.classes_.tolist())


def _count_confusions(fitted: Pipeline, table: pd.DataFrame) -> list[list[int]]:
    predicted = fitted.predict(table[dataset.FEATURE_NAMES])
    counts: list[list[int]] = confusion_matrix(table[TARGET], predicted, labels=CLASSES).tolist()
    return counts


def _mean(folds: Sequence[Metrics]) -> dict[str, float]:
    return {name: round(float(np.mean([fold[name] for fold in folds])), metrics.DECIMALS) for name in folds[0]}


def _pickle(fitted: Pipeline) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(fitted, buffer)
    return buffer.getvalue()


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
