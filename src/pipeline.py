"""The daily run: six steps that share nothing but the bucket.

Each step takes and returns plain dictionaries (pointers and a decision), so that a shell, a test and Airflow's XCom
can carry them; each works in a temporary workspace of its own, so that any worker can run any step again.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from src import cli, dataset, metrics, models, registry, release
from src.bucket import Bucket
from src.config import (
    DATA_FILE,
    DATA_POINTER,
    MODEL,
    PARAMETERS,
    PROJECT,
    PROMOTION_RULE,
    SPLIT,
    Split,
)
from src.errors import DataError, IntegrityError, MissingError, RegistryError
from src.onnx_model import Model
from src.pointer import Pointer
from src.wine import FEATURES, TARGET
from src.workspace import Workspace, open_workspace

PointerDict = dict[str, Any]
STEPS = ("pull_data", "prepare_data", "train_model", "test_model", "check_metrics", "update_model")


def pull_data(pointer_file: Path = DATA_POINTER) -> PointerDict:
    """Pull what ``data.dvc`` names, validate it, and return its pointer.

    Raises:
        DataError: the table is not the red wine quality table.
        MissingError: the bucket lacks the bytes.

    """
    pointer = Pointer.from_yaml(pointer_file.read_text())
    with open_workspace(Bucket.from_environment()) as workspace:
        try:
            _read_data(workspace, pointer)
        except MissingError as error:
            raise MissingError(f"{error}; push it with: make data CSV=path") from error
    return pointer.to_dict()


def prepare_data(data: PointerDict, rule: Split = SPLIT) -> dict[str, PointerDict]:
    """Split the data by content; push "train" and "test" and return their pointers."""
    with open_workspace(Bucket.from_environment()) as workspace:
        sides = dataset.split(_read_data(workspace, Pointer.from_dict(data)), rule)
        files = [workspace.folder / "train.csv", workspace.folder / "test.csv"]
        for side, file in zip(sides, files, strict=True):
            dataset.write(side, file)
        train, test = workspace.push(*files)
    return {"train": train.to_dict(), "test": test.to_dict()}


def train_model(
    data: PointerDict,
    sides: Mapping[str, PointerDict],
    run: Mapping[str, Any],
    model: str = MODEL,
    parameters: Mapping[str, Any] = PARAMETERS,
    rule: Split = SPLIT,
) -> PointerDict:
    """Fit and export the model; push the challenger (yet without metrics), whose ``meta`` holds ``run``."""
    with open_workspace(Bucket.from_environment()) as workspace:
        train = _read_table(workspace, sides["train"])
        fitted = models.fit(model, parameters, train)
        provenance = release.Provenance(
            model=model,
            parameters=dict(parameters),
            split=asdict(rule),
            data=data["outs"][0],
            train=sides["train"]["outs"][0],
            test=sides["test"]["outs"][0],
            features=feature_ranges(train),
            classes=tuple(int(label) for label in fitted.classes_),
            libraries=release.library_versions(),
        )
        folder = workspace.folder / release.FOLDER
        release.write_challenger(folder, models.export(fitted), provenance)
        (challenger,) = workspace.push(folder)
    return challenger.with_meta(**run).to_dict()


def test_model(challenger: PointerDict, sides: Mapping[str, PointerDict]) -> PointerDict:
    """Score the challenger's ONNX file on both sides; push the whole release and return its pointer."""
    pointer = Pointer.from_dict(challenger)
    with open_workspace(Bucket.from_environment()) as workspace:
        folder, *tables = workspace.pull(pointer, *(Pointer.from_dict(side) for side in sides.values()))
        files = release.read_folder(folder)
        model, provenance = release.load_model(files), release.Provenance.read(files)
        scores = {
            side: _score(model, provenance, dataset.read(table)) for side, table in zip(sides, tables, strict=True)
        }
        release.write_metrics(folder, scores)
        (tested,) = workspace.push(folder)
        release.Release.load(release.read_folder(folder))
    return tested.with_meta(**pointer.meta).to_dict()


test_model.__test__ = False  # type: ignore[attr-defined]  # pytest takes its name for a test's


def check_metrics(tested: PointerDict, sides: Mapping[str, PointerDict]) -> dict[str, Any]:
    """Register the challenger, and decide; returns what :func:`compare_with_champion` does."""
    registry.register(Bucket.from_environment(), Pointer.from_dict(tested))
    return compare_with_champion(tested, sides)


def compare_with_champion(tested: PointerDict, sides: Mapping[str, PointerDict]) -> dict[str, Any]:
    """Score challenger and champion on the same test rows and decide; nothing is registered or promoted.

    Returns ``promote`` (bool), ``reason``, ``release`` and ``champion`` (ids, the latter None before the first
    promotion) and ``metrics`` of both.
    """
    bucket = Bucket.from_environment()
    pointer = Pointer.from_dict(tested)
    champion = registry.current(bucket)
    scores: dict[str, dict[str, float]] = {}
    if champion is None:
        decision = metrics.Decision(True, "there is no champion yet")
        scores["challenger"] = dict(registry.load(bucket, pointer).metrics["test"])
    elif champion.md5 == pointer.md5:
        decision = metrics.Decision(False, f"same bytes as the champion {champion.id}")
        scores["challenger"] = scores["champion"] = dict(registry.load(bucket, pointer).metrics["test"])
    else:
        scores = _score_both(bucket, pointer, champion, sides)
        decision = metrics.compare(scores["challenger"], scores["champion"], PROMOTION_RULE)
        if decision.promote and registry.is_rolled_back(bucket, pointer.id):
            hint = f"promote it by hand with: python -m src.registry promote {pointer.id}"
            decision = metrics.Decision(False, f"{pointer.id} was rolled back by a person; {hint}")
    ids = {"release": pointer.id, "champion": champion.id if champion else None}
    return asdict(decision) | ids | {"metrics": scores}


def update_model(tested: PointerDict, decision: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Promote the challenger that :func:`check_metrics` decided for; returns the promotion.

    Raises:
        RegistryError: the champion is no longer the one that was compared, or the decision was against it.

    """
    bucket = Bucket.from_environment()
    pointer = Pointer.from_dict(tested)
    if not decision["promote"]:
        raise RegistryError(f"{pointer.id} is not to be promoted: {decision['reason']}")
    compared = decision["champion"]
    return asdict(registry.promote(bucket, pointer, decision["reason"], by, decision["metrics"], compared))


def reproduce(bucket: Bucket, pointer: Pointer) -> Pointer:
    """Train a release again from what it records, and return the pointer of what came out."""
    recorded = registry.load(bucket, pointer).provenance
    rule = Split(**recorded.split)
    data = {"outs": [dict(recorded.data)]}
    sides = prepare_data(data, rule)
    challenger = train_model(data, sides, {}, recorded.model, recorded.parameters, rule)
    return Pointer.from_dict(test_model(challenger, sides))


def describe_run(run_id: str, task: str) -> dict[str, Any]:
    """Return what is not content but belongs to a release: run, task, commit, time and host."""
    return {
        "run_id": run_id,
        "task": task,
        "git_commit": _git_commit(),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
    }


def _read_data(workspace: Workspace, pointer: Pointer) -> pd.DataFrame:
    (folder,) = workspace.pull(pointer)
    file = folder / DATA_FILE
    if not file.is_file():
        raise DataError(f"the data folder lacks {DATA_FILE}")
    return dataset.read(file)


def _read_table(workspace: Workspace, pointer: PointerDict) -> pd.DataFrame:
    (file,) = workspace.pull(Pointer.from_dict(pointer))
    if not file.is_file():
        raise IntegrityError(f"{file.name} is a folder, expected a table")
    return dataset.read(file)


def feature_ranges(train: pd.DataFrame) -> tuple[release.FeatureRange, ...]:
    """Return each feature as the training rows show it."""
    return tuple(
        release.FeatureRange(
            feature.name,
            feature.unit,
            float(train[feature.name].min()),
            float(train[feature.name].median()),
            float(train[feature.name].max()),
        )
        for feature in FEATURES
    )


def _score(model: Model, provenance: release.Provenance, table: pd.DataFrame) -> dict[str, float]:
    labels, probabilities = model.predict(table[dataset.FEATURE_NAMES].to_numpy())
    return metrics.score(table[TARGET].to_numpy(), labels, probabilities, provenance.classes)


def _score_both(
    bucket: Bucket, challenger: Pointer, champion: Pointer, sides: Mapping[str, PointerDict]
) -> dict[str, dict[str, float]]:
    contenders = {"challenger": registry.load(bucket, challenger), "champion": registry.load(bucket, champion)}
    with open_workspace(bucket) as workspace:
        test = _read_table(workspace, sides["test"])
        known = contenders["champion"].provenance
        if known.split != contenders["challenger"].provenance.split:
            test = _drop_rows(test, _read_table(workspace, {"outs": [dict(known.train)]}))
    return {name: _score(one.model, one.provenance, test) for name, one in contenders.items()}


def _drop_rows(table: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    fresh = table[~dataset.hash_rows(table, "").isin(dataset.hash_rows(seen, ""))]
    if fresh[TARGET].nunique() < 2:
        raise DataError("the split changed, and the champion was trained on all rows of today's test but "
                        f"{len(fresh)}: nothing fair is left to compare on. Restore the split's salt")
    return fresh


def _git_commit() -> str:
    if commit := os.environ.get("GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> int:
    """Do one whole run and print it; returns the exit code."""
    return cli.run("pipeline", _run)


def _run() -> None:
    run_id = f"shell__{datetime.now(UTC).isoformat(timespec='seconds')}"
    data = pull_data()
    _say("pull_data", f"data {Pointer.from_dict(data).md5}: valid")
    sides = prepare_data(data)
    _say("prepare_data", ", ".join(f"{side} {Pointer.from_dict(sides[side]).md5}" for side in sides))
    challenger = train_model(data, sides, describe_run(run_id, "train_model"))
    _say("train_model", f"{MODEL} {PARAMETERS}")
    tested = test_model(challenger, sides)
    _say("test_model", f"release {Pointer.from_dict(tested).id}")
    decision = check_metrics(tested, sides)
    _say("check_metrics", decision["reason"])
    print(compare_side_by_side(decision))
    if decision["promote"]:
        promotion = update_model(tested, decision, run_id)
        _say("update_model", f"champion: {promotion['replaced'] or 'nothing'} → {promotion['release']}")
    else:
        _say("update_model", f"skipped, champion stays {decision['champion']}")


def compare_side_by_side(decision: Mapping[str, Any]) -> str:
    """Return both sides' metrics on the same test rows as a table of text."""
    champion = decision["metrics"].get("champion", {})
    lines = [f"{'':14}{'challenger':>12}{'champion':>12}"]
    for name, value in decision["metrics"]["challenger"].items():
        beside = f"{champion[name]:12.4f}" if name in champion else f"{'-':>12}"
        lines.append(f"  {name:12}{value:12.4f}{beside}")
    return "\n".join(lines)


def _say(step: str, text: str) -> None:
    print(f"{step:14}{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
