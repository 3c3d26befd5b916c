"""What the search costs beyond scikit-learn: ``python -m bench.search``.

Measures, in one run, (1) the whole command ``python -m src.learn_models --jobs 2`` from start to exit, tracking
included, against the bare fits and scores of the same trials on two processes that joblib starts, and (2) what
ClearML takes for one offline task once it is imported.

What profiling found: one trial costs what its bare fits and scores cost; splitting into folds was 40 % of a
logistic regression's time, so it is done once. What remains beyond scikit-learn is the start: imports in the command
(2 to 4 s), and ClearML's (2.5 s, half of it pandas, which the recorder goes without). An offline task takes 0.03 to
0.09 s. With a server set, no 11 s wait returns either: over loopback a task takes 0.2 s, for 16 requests, two thirds of
it in checking them against ClearML's schemas; it passes beside the search, which does not wait for it.
"""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from joblib import Parallel, delayed
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import Pipeline

from src.config import GRID, PROJECT
from src.core import dataset, models, wine
from src.core.wine import CLASSES, TARGET
from src.learn_models import read_data
from src.search.trials import Rows, Trial, list_trials
from src.tracking import Run
from src.tracking.recorder import Recorder

JOBS = 2
TASKS = 20
RATIO_TARGET = 1.3
TASK_TARGET = 0.1  # seconds


def main() -> int:
    """Measure and print; returns 1 where a target is missed."""
    bare = measure_bare_fits()
    whole = measure_search()
    task = measure_task()
    print(f"trials               {len(list_trials(list(GRID))):8d}")
    print(f"bare fit and score, 2 jobs {bare:8.1f} s")
    print(f"whole search, 2 jobs       {whole:8.1f} s")
    print(f"ratio                      {whole / bare:8.2f}   (target: at most {RATIO_TARGET})")
    print(f"ClearML, one offline task  {task:8.3f} s (target: at most {TASK_TARGET})")
    return int(whole / bare > RATIO_TARGET or task > TASK_TARGET)


def measure_bare_fits() -> float:
    """Return the seconds that scikit-learn and joblib alone take."""
    rows = Rows.split(read_data(PROJECT / "data" / wine.FILE))
    trials = list_trials(list(GRID))
    started = time.perf_counter()
    Parallel(n_jobs=JOBS)(delayed(_fit_and_score)(one, rows) for one in trials)
    return time.perf_counter() - started


def measure_search() -> float:
    """Return the seconds of the whole command, offline, into an empty folder."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "src.learn_models", "--jobs", str(JOBS), "--into", folder]
        started = time.perf_counter()
        subprocess.run(command, cwd=PROJECT, env=_without_account(), check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def measure_task() -> float:
    """Return the median seconds from sending a run to having its offline session on disk."""
    scores = {part: dict.fromkeys(("Accuracy", "F1_score", "ROC_AUC"), 0.5) for part in ("train", "test")}
    run = Run("bench", {"C": 1.0}, scores, [[1] * len(CLASSES)] * len(CLASSES), CLASSES, ["test 0.5000", "gap 0.0000"])
    with TemporaryDirectory() as folder:
        recorder = Recorder("bench", Path(folder), host=None, patience=60)
        recorder.wait()
        seconds = [_time_task(recorder, run) for _ in range(TASKS)]
        recorder.end()
    return statistics.median(seconds)


def _time_task(recorder: Recorder, run: Run) -> float:
    started = time.perf_counter()
    recorder.send(asdict(run))
    recorder.wait()
    return time.perf_counter() - started


def _without_account() -> dict[str, str]:
    return os.environ | {"CLEARML_API_ACCESS_KEY": "", "CLEARML_API_SECRET_KEY": ""}


def _fit_and_score(trial: Trial, rows: Rows) -> None:
    candidate = models.CANDIDATES[trial.model]
    for fit, rest in rows.folds:
        fold = rows.train.iloc[fit]
        fitted = candidate(**trial.parameters).fit(fold[dataset.FEATURE_NAMES], fold[TARGET])
        _score(fitted, rows.train.iloc[rest])
    fitted = candidate(**trial.parameters).fit(rows.train[dataset.FEATURE_NAMES], rows.train[TARGET])
    for part in (rows.train, rows.test):
        _score(fitted, part)


def _score(fitted: Pipeline, table: pd.DataFrame) -> None:
    probabilities = fitted.predict_proba(table[dataset.FEATURE_NAMES])
    labels = fitted.classes_[probabilities.argmax(axis=1)]
    truth = table[TARGET]
    accuracy_score(truth, labels)
    f1_score(truth, labels, average="weighted", zero_division=0)
    for column, label in enumerate(fitted.classes_):
        if (truth == label).any():
            roc_auc_score(truth == label, probabilities[:, column])


if __name__ == "__main__":
    sys.exit(main())
