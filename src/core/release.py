"""A release: the immutable folder that is trained, tested, shipped and served."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from src.core.formats import Stored
from src.core.onnx_model import Model, inspect
from src.core.profile import Profile
from src.core.wine import CLASSES, FEATURES
from src.errors import IntegrityError

Files = Mapping[str, bytes]  # a release's files by name

MODEL_FILE = "model.onnx"
METRICS_FILE = "metrics.json"
PROVENANCE_FILE = "release.json"
PROFILE_FILE = "profile.json"
FOLDER = "release"
LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx")


class FeatureRange(BaseModel):
    """A feature as training saw it: its unit, and the lowest, middle and highest value."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str
    unit: str
    minimum: float
    median: float
    maximum: float


class Provenance(Stored):
    """What the model's bytes depend on; times, hosts and run ids live in the pointer's ``meta`` instead.

    ``data``, ``train`` and ``test`` are outputs of pointers.
    """

    model: str
    parameters: Mapping[str, Any]
    split: Mapping[str, Any]
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    features: tuple[FeatureRange, ...]
    classes: tuple[int, ...]
    libraries: Mapping[str, str]

    @property
    def is_of_this_table(self) -> bool:
        """Say whether it knows the features of ``wine.py``, in that order, and none but its classes."""
        names = [feature.name for feature in self.features]
        return names == [feature.name for feature in FEATURES] and set(self.classes) <= set(CLASSES)

    def contradicts(self, other: "Provenance") -> str | None:
        """Say how this release's contract, its features in their order and its classes, differs from another's."""
        mine, theirs = ([feature.name for feature in one.features] for one in (self, other))
        told = [f"without {name}" for name in theirs if name not in mine]
        told += [f"with {name}" for name in mine if name not in theirs]
        if not told and mine != theirs:
            told.append("features in another order")
        if self.classes != other.classes:
            told.append(f"classes {_list(self.classes)} instead of {_list(other.classes)}")
        return ", ".join(told) or None


class Scores(Stored):
    """The metrics of a release on the rows that it was trained on, and on those that were held out.

    ``recall`` is of each class among the latter; releases of older code have none.
    """

    train: Mapping[str, float]
    test: Mapping[str, float]
    recall: Mapping[str, float] = {}


@dataclass(frozen=True)
class Release:
    """A complete release, loaded; those of older code have no profile."""

    model: Model
    provenance: Provenance
    metrics: Scores
    profile: Profile | None = None

    @classmethod
    def load(cls, files: Files, tried: bool = False) -> "Release":
        """Load a release and try its model where training ended: at the medians, minima and maxima.

        With ``tried`` these bytes were loaded before, elsewhere, so that the graph need not be looked at again.

        Raises:
            IntegrityError: a file is missing, broken, or the model does not predict.

        """
        metrics = Scores.read_json(_read(files, METRICS_FILE), METRICS_FILE)
        profile = Profile.read_json(files[PROFILE_FILE], PROFILE_FILE) if PROFILE_FILE in files else None
        release = cls(load_model(files, tried), load_provenance(files), metrics, profile)
        release._check()
        return release

    def _check(self) -> None:
        features, classes = self.provenance.features, self.provenance.classes
        rows = np.array([(feature.median, feature.minimum, feature.maximum) for feature in features]).reshape(-1, 3).T
        try:
            labels, probabilities = self.model.predict(rows)
        except Exception as error:  # onnxruntime's own errors share no base class but this one
            raise IntegrityError(f"{MODEL_FILE} does not predict: {error}") from error
        if probabilities.shape != (len(rows), len(classes)) or not np.isin(labels, classes).all():
            raise IntegrityError(f"{MODEL_FILE} gives {probabilities.tolist()} for classes {classes}")
        if not (probabilities >= 0).all() or not np.isclose(probabilities.sum(axis=1), 1, atol=1e-3).all():
            raise IntegrityError(f"{MODEL_FILE} gives {probabilities.tolist()}, expected probabilities")
        if self.profile and [one.name for one in self.profile.features] != [one.name for one in features]:
            raise IntegrityError(f"{PROFILE_FILE} is of other features than {PROVENANCE_FILE}")


def load_model(files: Files, tried: bool = False) -> Model:
    """Load ``model.onnx`` alone: a challenger that is yet to be tested.

    Raises:
        IntegrityError: it is missing or does not load.

    """
    content = _read(files, MODEL_FILE)
    try:
        if not tried:
            inspect(content)
        return Model(content)
    except IntegrityError as error:
        raise IntegrityError(f"{MODEL_FILE}: {error}") from error


def load_provenance(files: Files) -> Provenance:
    """Load ``release.json`` alone.

    Raises:
        IntegrityError: it is missing or broken.

    """
    return Provenance.read_json(_read(files, PROVENANCE_FILE), PROVENANCE_FILE)


def write_challenger(folder: Path, model: bytes, provenance: Provenance) -> None:
    """Write the model and what it was made of; :func:`write_metrics` completes the release."""
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(model)
    (folder / PROVENANCE_FILE).write_bytes(provenance.to_json())


def write_metrics(folder: Path, metrics: Scores, profile: Profile) -> None:
    """Add the scores on train and test, and what monitoring sets live wines beside."""
    (folder / METRICS_FILE).write_bytes(metrics.to_json())
    (folder / PROFILE_FILE).write_bytes(profile.to_json())


def library_versions() -> dict[str, str]:
    """Return the versions that the model's bytes depend on."""
    return {name: version(name) for name in LIBRARIES}


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a release's folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _list(classes: tuple[int, ...]) -> str:
    return ", ".join(map(str, classes))


def _read(files: Files, name: str) -> bytes:
    try:
        return files[name]
    except KeyError as error:
        raise IntegrityError(f"a release must hold {name}, this one holds {', '.join(files) or 'nothing'}") from error
