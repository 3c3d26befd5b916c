"""The six steps of the daily run, which share nothing but the bucket.

Each takes and returns pointers, works in a temporary workspace of its own, and may be run again by any worker.
``src/pipeline/run.py`` and the DAG put them in order.
"""

import logging
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from src.config import DATA_POINTER, MODEL, PARAMETERS, PROJECT, PROMOTION_RULE, SPLIT, SplitRule
from src.core import dataset, metrics, models, release, wine
from src.core.onnx_model import Model
from src.core.pointer import Pointer, Split
from src.core.release import FeatureRange, Provenance, Release, Scores
from src.errors import DataError, IntegrityError, MissingError, RegistryError
from src.pipeline import new_data
from src.pipeline.comparison import Comparison
from src.registry import Promotion, Registry
from src.storage.bucket import Bucket
from src.storage.workspace import Workspace, open_workspace

log = logging.getLogger(__name__)


def pull_data(pointer_file: Path = DATA_POINTER) -> Pointer:
    """Pull what ``data.dvc`` names, validate it, set it beside the champion's table, and return its pointer.

    Raises:
        DataError: the table is not the one that ``src/core/wine.py`` describes, or nobody accepted what it changes.
        MissingError: the bucket lacks the bytes.

    """
    pointer = Pointer.from_yaml(pointer_file.read_text())
    bucket = Bucket.from_environment()
    with open_workspace(bucket) as workspace:
        try:
            table = _read_data(workspace, pointer)
        except MissingError as error:
            raise MissingError(f"{error}; push it with: make data CSV=path") from error
        check = new_data.check(table, Registry(bucket), workspace, pointer)
        log.info("%s", check.to_text())
        check.hold_unless(new_data.read_accepted(pointer))
    return pointer


def prepare_data(data: Pointer, rule: SplitRule = SPLIT) -> Split:
    """Split the data by content; push train and test and return their pointers."""
    with open_workspace(Bucket.from_environment()) as workspace:
        parts = dataset.split(_read_data(workspace, data), rule)
        files = [workspace.folder / "train.csv", workspace.folder / "test.csv"]
        for part, file in zip(parts, files, strict=True):
            dataset.write(part, file)
        train, test = workspace.push(*files)
    return Split(train, test)


def train_model(
    data: Pointer,
    split: Split,
    run: Mapping[str, Any],
    model: str = MODEL,
    parameters: Mapping[str, Any] = PARAMETERS,
    rule: SplitRule = SPLIT,
) -> Pointer:
    """Fit and export the model; push the challenger (yet without metrics), whose ``meta`` holds ``run``."""
    with open_workspace(Bucket.from_environment()) as workspace:
        train = _read_table(workspace, split.train)
        fitted = models.fit(model, parameters, train)
        provenance = Provenance(
            model=model,
            parameters=dict(parameters),
            split=asdict(rule),
            data=data.to_out() | new_data.describe_accepted(data),
            train=split.train.to_out(),
            test=split.test.to_out(),
            features=feature_ranges(train),
            classes=tuple(int(label) for label in fitted.classes_),
            libraries=release.library_versions(),
        )
        folder = workspace.folder / release.FOLDER
        release.write_challenger(folder, models.export(fitted), provenance)
        (challenger,) = workspace.push(folder)
    return challenger.with_meta(**run, **new_data.name_accepted(data))


def test_model(challenger: Pointer, split: Split, register: bool = True) -> Pointer:
    """Score the challenger's ONNX file on train and test; push and register the release, and return its pointer."""
    with open_workspace(Bucket.from_environment()) as workspace:
        folder, train, test = workspace.pull(challenger, split.train, split.test)
        files = release.read_folder(folder)
        model, provenance = release.load_model(files), release.load_provenance(files)
        scores = Scores(
            train=_score(model, provenance, dataset.read(train)), test=_score(model, provenance, dataset.read(test))
        )
        release.write_metrics(folder, scores)
        (tested,) = workspace.push(folder)
        Release.load(release.read_folder(folder))
    tested = tested.with_meta(**challenger.meta)
    if register:
        Registry(Bucket.from_environment()).register(tested)
    return tested


test_model.__test__ = False  # type: ignore[attr-defined]  # pytest takes its name for a test's


def check_metrics(tested: Pointer, split: Split) -> Comparison:
    """Score challenger and champion on the same test rows and decide; nothing is registered or promoted."""
    registry = Registry(Bucket.from_environment())
    champion = registry.current()
    mine = registry.load(tested)
    scores: dict[str, metrics.Metrics] = {"challenger": mine.metrics.test}
    if champion is None:
        decision = metrics.Decision(True, "there is no champion yet")
    elif champion.md5 == tested.md5:
        decision = metrics.Decision(False, f"same bytes as the champion {champion.id}")
        scores["champion"] = mine.metrics.test
    else:
        theirs = registry.load(champion)
        if theirs.provenance.is_of_this_table:
            scores = _score_both(registry, mine, theirs, split)
            decision = metrics.compare(scores["challenger"], scores["champion"], PROMOTION_RULE)
        else:
            decision = metrics.Decision(True, f"the champion {champion.id} is of another table")
        if decision.promote and registry.is_rolled_back(tested.id):
            hint = f"promote it by hand with: python -m src.registry promote {tested.id}"
            decision = metrics.Decision(False, f"{tested.id} was rolled back by a person; {hint}")
    return Comparison(decision.promote, decision.reason, tested.id, champion.id if champion else None, scores)


def update_model(tested: Pointer, comparison: Comparison, by: str) -> Promotion:
    """Promote the challenger that :func:`check_metrics` decided for.

    Raises:
        RegistryError: the champion is no longer the one that was compared, or the decision was against it.

    """
    if not comparison.promote:
        raise RegistryError(f"{tested.id} is not to be promoted: {comparison.reason}")
    registry = Registry(Bucket.from_environment())
    return registry.promote(tested, comparison.reason, by, comparison.metrics, replacing=comparison.champion)


def describe_run(run_id: str, task: str) -> dict[str, Any]:
    """Return what is not content but belongs to a release: run, task, commit, time and host."""
    return {
        "run_id": run_id,
        "task": task,
        "git_commit": _git_commit(),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
    }


def feature_ranges(train: pd.DataFrame) -> tuple[FeatureRange, ...]:
    """Return each feature as the training rows show it."""
    return tuple(
        FeatureRange(
            name=feature.name,
            unit=feature.unit,
            minimum=float(train[feature.name].min()),
            median=float(train[feature.name].median()),
            maximum=float(train[feature.name].max()),
        )
        for feature in wine.FEATURES
    )


def _read_data(workspace: Workspace, pointer: Pointer) -> pd.DataFrame:
    (folder,) = workspace.pull(pointer)
    file = folder / wine.FILE
    if not file.is_file():
        raise DataError(f"the data folder lacks {wine.FILE}")
    return dataset.read(file)


def _read_table(workspace: Workspace, pointer: Pointer) -> pd.DataFrame:
    (file,) = workspace.pull(pointer)
    if not file.is_file():
        raise IntegrityError(f"{file.name} is a folder, expected a table")
    return dataset.read(file)


def _score(model: Model, provenance: Provenance, table: pd.DataFrame) -> metrics.Metrics:
    labels, probabilities = model.predict(table[dataset.FEATURE_NAMES].to_numpy())
    return metrics.score(table[wine.TARGET].to_numpy(), labels, probabilities, provenance.classes)


def _score_both(registry: Registry, challenger: Release, champion: Release, split: Split) -> dict[str, metrics.Metrics]:
    known = champion.provenance
    with open_workspace(registry.bucket) as workspace:
        test = _read_table(workspace, split.test)
        if known.split != challenger.provenance.split:
            test = _drop_rows(test, _read_table(workspace, Pointer.from_out(known.train)))
    contenders = {"challenger": challenger, "champion": champion}
    return {name: _score(one.model, one.provenance, test) for name, one in contenders.items()}


def _drop_rows(table: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    fresh = table[~dataset.hash_rows(table, "").isin(dataset.hash_rows(seen, ""))]
    if fresh[wine.TARGET].nunique() < 2:
        raise DataError(
            "the split changed, and the champion was trained on all rows of today's test but "
            f"{len(fresh)}: nothing fair is left to compare on. Restore the split's salt"
        )
    return fresh


def _git_commit() -> str:
    if commit := os.environ.get("GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
