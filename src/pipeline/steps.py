"""The six steps of the daily run, which share nothing but the bucket.

Each takes and returns pointers, works in a temporary workspace of its own, and may be run again by any worker.
``src/pipeline/run.py`` and the DAG put them in order.
"""

import hashlib
import logging
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from src.config import DATA_POINTER, MODEL, PARAMETERS, PROJECT, REPLAY_RULE, SPLIT, SplitRule
from src.core import dataset, metrics, models, profile, release, run_decision, wine
from src.core.onnx_model import Model
from src.core.pointer import Pointer, Split
from src.core.release import FeatureRange, Provenance, Release, Scores
from src.errors import DataError, IntegrityError, MissingError, RegistryError
from src.pipeline import gate, new_data
from src.pipeline.comparison import Comparison
from src.registry import Promotion, Registry
from src.registry.signed import sign_release
from src.settings import CodeSettings, read_settings
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults
from src.storage.replay import replay_traffic
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
    log.info(
        "%s rows: %s to train on (md5 %s), %s held out (md5 %s)",
        sum(map(len, parts)),
        len(parts[0]),
        train.md5,
        len(parts[1]),
        test.md5,
    )
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
        start = time.perf_counter()
        fitted = models.fit(model, parameters, train)
        seconds = time.perf_counter() - start
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
    log.info("%s %s on %s rows in %.2f s; code: %s", model, dict(parameters), len(train), seconds, describe_code(run))
    return challenger.with_meta(**run, **new_data.name_accepted(data))


def test_model(challenger: Pointer, split: Split, register: bool = True) -> Pointer:
    """Score the challenger's ONNX file on train and test; push, sign and register the release, return its pointer."""
    with open_workspace(Bucket.from_environment()) as workspace:
        folder, *files = workspace.pull(challenger, split.train, split.test)
        train, test = map(dataset.read, files)
        content = release.read_folder(folder)
        model, provenance = release.load_model(content), release.load_provenance(content)
        truth = test[wine.TARGET].to_numpy()
        labels, probabilities = model.predict(test[dataset.FEATURE_NAMES].to_numpy())
        scores = Scores(
            train=_score(model, provenance, train),
            test=_score(model, provenance, test),
            recall=metrics.recall(truth, labels),
        )
        seen = train[dataset.FEATURE_NAMES].to_numpy()
        described = profile.describe(dataset.FEATURE_NAMES, seen, truth, labels, probabilities)
        release.write_metrics(folder, scores, described)
        (tested,) = workspace.push(folder)
        content = release.read_folder(folder)
        Release.load(content)
    tested = sign_release(tested.with_meta(**{**challenger.meta, "test_rows": split.test.md5}), content)
    if register:
        Registry(Bucket.from_environment()).register(tested)
    log.info("release %s", tested.id)
    for rows, values in (("train", scores.train), ("test", scores.test), (f"recall of {wine.TARGET}", scores.recall)):
        log.info("  %s: %s", rows, ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return tested


test_model.__test__ = False  # type: ignore[attr-defined]  # pytest takes its name for a test's


def check_metrics(tested: Pointer, split: Split, run_id: str | None = None) -> Comparison:
    """Score challenger and champion on the same test rows and decide; nothing is registered or promoted.

    What a daily run decides, whose ``run_id`` is given, is kept for people in place of what the run before did.
    """
    bucket = Bucket.from_environment()
    comparison = _compare(Registry(bucket), tested, split)
    if run_id is not None:
        bucket.put_shared(run_decision.KEY, comparison.to_decision(run_id, datetime.now(UTC)).to_json())
    for line in (comparison.reason, *comparison.to_text().splitlines()):
        log.info("%s", line)
    return comparison


def update_model(tested: Pointer, comparison: Comparison, by: str) -> Promotion:
    """Promote the challenger that :func:`check_metrics` decided for.

    Raises:
        RegistryError: the champion is no longer the one that was compared, or the decision was against it.

    """
    if not comparison.promote:
        raise RegistryError(f"{tested.id} is not to be promoted: {comparison.reason}")
    registry = Registry(Bucket.from_environment())
    figures = comparison.list_figures()
    promotion = registry.promote(tested, comparison.reason, by, figures, replacing=comparison.champion)
    log.info("champion: %s → %s", promotion.replaced or "nothing", promotion.release)
    return promotion


def describe_run(run_id: str, task: str) -> dict[str, Any]:
    """Return what is not content but belongs to a release: run, task, code, time and host."""
    return {
        "run_id": run_id,
        "task": task,
        **_describe_git(),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
    }


def describe_code(run: Mapping[str, Any]) -> str:
    """Return in words which code a run is of: its commit and, where that is not all, the hash of what was changed."""
    commit = str(run.get("git_commit", "unknown"))
    if "git_diff" not in run:
        return commit
    return f"dirty, commit {commit.removesuffix('-dirty')} with uncommitted changes (diff {run['git_diff']})"


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


def _compare(registry: Registry, tested: Pointer, split: Split) -> Comparison:
    champion = registry.current()
    mine, theirs = registry.load(tested), registry.load(champion) if champion else None
    alone = Comparison(False, "", tested.id, champion.id if champion else None, {"challenger": mine.metrics.test})
    if champion and champion.md5 == tested.md5:
        both = {**alone.metrics, "champion": mine.metrics.test}
        return replace(alone, reason=f"same bytes as the champion {champion.id}", metrics=both)
    if obstacle := gate.find_obstacle(tested.id, mine, theirs):
        return replace(alone, reason=obstacle)
    if champion is None or theirs is None:
        return replace(alone, promote=True, reason="there is no champion yet")
    rows = {split.test.md5}
    with open_workspace(registry.bucket) as workspace:
        test = _read_table(workspace, split.test)
        if theirs.provenance.split != mine.provenance.split:
            test = _drop_rows(test, _read_table(workspace, Pointer.from_out(theirs.provenance.train)))
            rows.add(str(theirs.provenance.test["md5"]))  # what is left of today's rows was among them
    comparison = gate.compare(tested.id, champion.id, mine, theirs, test)
    comparison = replace(comparison, looks=gate.count_looks(registry, tested.id, rows))
    if not comparison.promote:
        return comparison
    faults = Faults()
    replayed = replay_traffic(registry.bucket, mine, theirs, REPLAY_RULE, faults)
    for fault in faults.told:
        log.warning("not replayed: %s", fault, stacklevel=2)  # told by the step, as all that it does
    log.info("replay: %s", replayed.to_text() if replayed else "no traffic was logged", stacklevel=2)
    comparison = replace(comparison, replay=replayed.list_figures() if replayed else {})
    veto = gate.find_veto(registry, comparison, replayed, REPLAY_RULE)
    return replace(comparison, **asdict(veto)) if veto else comparison


def _drop_rows(table: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    fresh = table[~dataset.hash_rows(table, "").isin(dataset.hash_rows(seen, ""))]
    if fresh[wine.TARGET].nunique() < 2:
        raise DataError(
            "the split changed, and the champion was trained on all rows of today's test but "
            f"{len(fresh)}: nothing fair is left to compare on. Restore the split's salt"
        )
    return fresh


def _describe_git() -> dict[str, str]:
    """Return the commit and, where tracked files differ from it, the hash of the difference."""
    if commit := read_settings(CodeSettings).git_commit:
        return {"git_commit": commit}
    try:
        commit = _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").decode().strip()
        if not commit.endswith("-dirty"):
            return {"git_commit": commit}
        difference = _git("diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv")
        return {"git_commit": commit, "git_diff": hashlib.sha256(difference).hexdigest()[:12]}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": "unknown"}


def _git(*arguments: str) -> bytes:
    command = ["git", "-C", str(PROJECT), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout
