"""A release is complete and predicts, or it is rejected."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.config import MODEL, PARAMETERS, SPLIT
from src.core import dataset, models, profile, release
from src.core.wine import TARGET
from src.errors import IntegrityError
from src.pipeline import steps as pipeline


@pytest.fixture(scope="module")
def files(data_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    train, _ = dataset.split(dataset.read(data_csv), SPLIT)
    provenance = release.Provenance(
        model=MODEL,
        parameters=PARAMETERS,
        split={"salt": SPLIT.salt, "test_share": SPLIT.test_share},
        data={},
        train={},
        test={},
        features=pipeline.feature_ranges(train),
        classes=(3, 4, 5, 6, 7, 8),
        libraries=release.library_versions(),
    )
    folder = tmp_path_factory.mktemp("release") / "release"
    release.write_challenger(folder, models.export(models.fit(MODEL, PARAMETERS, train)), provenance)
    seen, truth = train[dataset.FEATURE_NAMES].to_numpy(), train[TARGET].to_numpy()
    labels, probabilities = release.load_model(release.read_folder(folder)).predict(seen)
    described = profile.describe(dataset.FEATURE_NAMES, seen, truth, labels, probabilities)
    release.write_metrics(folder, release.Scores(train={"ROC_AUC": 0.9}, test={"ROC_AUC": 0.8}), described)
    return release.read_folder(folder)


def test_what_was_written_is_what_is_loaded(files: dict[str, bytes]) -> None:
    loaded = release.Release.load(files)
    assert loaded.metrics.test == {"ROC_AUC": 0.8}
    assert loaded.provenance.parameters == PARAMETERS
    assert loaded.provenance.features[-1].name == "alcohol"


@pytest.mark.parametrize("name", [release.MODEL_FILE, release.METRICS_FILE, release.PROVENANCE_FILE])
def test_a_missing_file_is_named(files: dict[str, bytes], name: str) -> None:
    with pytest.raises(IntegrityError, match=f"must hold {name}"):
        release.Release.load({other: content for other, content in files.items() if other != name})


FILES = [release.MODEL_FILE, release.METRICS_FILE, release.PROVENANCE_FILE, release.PROFILE_FILE]


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_rejected(files: dict[str, bytes], name: str) -> None:
    with pytest.raises(IntegrityError, match=name):
        release.Release.load(files | {name: files[name][: len(files[name]) // 2]})


def test_a_model_of_other_classes_is_rejected(files: dict[str, bytes]) -> None:
    content = json.loads(files[release.PROVENANCE_FILE]) | {"classes": [5, 6]}
    with pytest.raises(IntegrityError, match="for classes"):
        release.Release.load(files | {release.PROVENANCE_FILE: json.dumps(content).encode()})


def test_a_model_of_other_features_is_rejected(files: dict[str, bytes]) -> None:
    content = json.loads(files[release.PROVENANCE_FILE])
    content["features"].pop()
    with pytest.raises(IntegrityError, match="does not predict"):
        release.Release.load(files | {release.PROVENANCE_FILE: json.dumps(content).encode()})


def test_a_profile_of_other_features_is_rejected(files: dict[str, bytes]) -> None:
    content = json.loads(files[release.PROFILE_FILE])
    content["features"].reverse()
    with pytest.raises(IntegrityError, match="profile.json is of other features"):
        release.Release.load(files | {release.PROFILE_FILE: json.dumps(content).encode()})


def test_a_release_of_older_code_has_no_profile_and_loads(files: dict[str, bytes]) -> None:
    older = {name: content for name, content in files.items() if name != release.PROFILE_FILE}
    assert release.Release.load(older).profile is None


def test_no_time_host_or_run_is_inside_the_folder(files: dict[str, bytes]) -> None:
    assert set(json.loads(files[release.PROVENANCE_FILE])) == {
        "format",
        "model",
        "parameters",
        "split",
        "data",
        "train",
        "test",
        "features",
        "classes",
        "libraries",
    }


@pytest.mark.parametrize("module", ["src.core.release", "workers.preload"])
def test_onnxruntime_marks_no_machine(module: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    command = [sys.executable, "-c", f"import {module}"]
    subprocess.run(command, env=environment | {"HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))
