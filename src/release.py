"""A release: the immutable folder that is trained, tested, shipped and served."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from src.errors import IntegrityError
from src.onnx_model import Model, inspect

Files = Mapping[str, bytes]  # a release's files by name

MODEL_FILE = "model.onnx"
METRICS_FILE = "metrics.json"
PROVENANCE_FILE = "release.json"
FOLDER = "release"
LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx")


@dataclass(frozen=True)
class FeatureRange:
    """A feature as training saw it: its unit, and the lowest, middle and highest value."""

    name: str
    unit: str
    minimum: float
    median: float
    maximum: float

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.unit, str):
            raise TypeError("a feature's name and unit must be texts")
        if not all(isinstance(value, int | float) for value in (self.minimum, self.median, self.maximum)):
            raise TypeError(f"the range of {self.name} must be numbers")


@dataclass(frozen=True)
class Provenance:
    """What the model's bytes depend on; times, hosts and run ids live in the pointer's ``meta`` instead."""

    model: str
    parameters: Mapping[str, Any]
    split: Mapping[str, Any]
    data: Mapping[str, Any]
    train: Mapping[str, Any]
    test: Mapping[str, Any]
    features: tuple[FeatureRange, ...]
    classes: tuple[int, ...]
    libraries: Mapping[str, str]

    @classmethod
    def read(cls, files: Files) -> "Provenance":
        """Read ``release.json``.

        Raises:
            IntegrityError: it is missing or not a release's.

        """
        content = _read_json(files, PROVENANCE_FILE)
        try:
            features = tuple(FeatureRange(**feature) for feature in content.pop("features"))
            return cls(features=features, classes=tuple(content.pop("classes")), **content)
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{PROVENANCE_FILE} is not a release's: {error}") from error


@dataclass(frozen=True)
class Release:
    """A whole release, loaded: ``metrics`` maps "train" and "test" to their scores."""

    model: Model
    provenance: Provenance
    metrics: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, files: Files, tried: bool = False) -> "Release":
        """Load a release and try its model where training ended: at the medians, minima and maxima.

        With ``tried`` these bytes were loaded before, elsewhere, so that the graph need not be looked at again.

        Raises:
            IntegrityError: a file is missing, broken, or the model does not predict.

        """
        provenance = Provenance.read(files)
        release = cls(load_model(files, tried), provenance, _read_scores(files))
        release._check()
        return release

    def _check(self) -> None:
        features, classes = self.provenance.features, self.provenance.classes
        values = [(feature.median, feature.minimum, feature.maximum) for feature in features]
        rows = np.array(values).reshape(-1, 3).T
        try:
            labels, probabilities = self.model.predict(rows)
        except Exception as error:  # onnxruntime's own errors share no base class but this one
            raise IntegrityError(f"{MODEL_FILE} does not predict: {error}") from error
        if probabilities.shape != (len(rows), len(classes)) or not np.isin(labels, classes).all():
            raise IntegrityError(f"{MODEL_FILE} gives {probabilities.tolist()} for classes {classes}")
        if not (probabilities >= 0).all() or not np.isclose(probabilities.sum(axis=1), 1, atol=1e-3).all():
            raise IntegrityError(f"{MODEL_FILE} gives {probabilities.tolist()}, expected probabilities")


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


def write_challenger(folder: Path, model: bytes, provenance: Provenance) -> None:
    """Write the model and what it was made of; :func:`write_metrics` completes the release."""
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(model)
    _write_json(folder / PROVENANCE_FILE, asdict(provenance))


def write_metrics(folder: Path, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Add the scores on "train" and "test"."""
    _write_json(folder / METRICS_FILE, metrics)


def library_versions() -> dict[str, str]:
    """Return the versions that the model's bytes depend on."""
    return {name: version(name) for name in LIBRARIES}


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a release's folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _read(files: Files, name: str) -> bytes:
    try:
        return files[name]
    except KeyError as error:
        raise IntegrityError(f"a release must hold {name}, this one holds {', '.join(files) or 'nothing'}") from error


def _read_scores(files: Files) -> dict[str, dict[str, float]]:
    scores = _read_json(files, METRICS_FILE)
    try:
        return {side: {name: float(value) for name, value in of_side.items()} for side, of_side in scores.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise IntegrityError(f"{METRICS_FILE} holds no scores by train and test: {error}") from error


def _read_json(files: Files, name: str) -> Any:
    """Return what every reply can spell again: no infinite number, no half of a character."""
    try:
        content = json.loads(_read(files, name), parse_constant=_finite, parse_float=_finite)
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name} is not JSON: {error}") from error
    return content


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
