"""A release: the immutable folder that is trained, tested, shipped and served."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from src.errors import IntegrityError

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


class Model:
    """An ONNX classifier in memory; it never changes, so that threads may share it."""

    def __init__(self, content: bytes) -> None:
        """Load ``content``.

        Raises:
            IntegrityError: it is not a classifier with one input, a label and probabilities.

        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no base class but this one
            raise IntegrityError(f"{MODEL_FILE} does not load: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or [output.name for output in outputs] != ["label", "probabilities"]:
            names = [node.name for node in (*inputs, *outputs)]
            raise IntegrityError(f"{MODEL_FILE} has {names}, expected one input, 'label' and 'probabilities'")
        self._input = inputs[0].name

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return labels (rows,) and probabilities (rows, classes) for features (rows, 11), cast to float32."""
        labels, probabilities = self._session.run(None, {self._input: np.asarray(features, np.float32)})
        return labels, probabilities


@dataclass(frozen=True)
class Release:
    """A whole release, loaded: ``metrics`` maps "train" and "test" to their scores."""

    model: Model
    provenance: Provenance
    metrics: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, files: Files) -> "Release":
        """Load a release and try its model on the training medians.

        Raises:
            IntegrityError: a file is missing, broken, or the model does not predict.

        """
        provenance = Provenance.read(files)
        release = cls(load_model(files), provenance, _read_json(files, METRICS_FILE))
        release._check()
        return release

    def _check(self) -> None:
        medians = np.array([[feature.median for feature in self.provenance.features]])
        try:
            _, probabilities = self.model.predict(medians)
        except Exception as error:  # as in Model
            raise IntegrityError(f"{MODEL_FILE} does not predict: {error}") from error
        shape = (1, len(self.provenance.classes))
        if probabilities.shape != shape or not np.isclose(probabilities.sum(), 1, atol=1e-3):
            raise IntegrityError(f"{MODEL_FILE} gives {probabilities.tolist()} for classes {self.provenance.classes}")


def load_model(files: Files) -> Model:
    """Load ``model.onnx`` alone: a challenger that is yet to be tested.

    Raises:
        IntegrityError: it is missing or does not load.

    """
    return Model(_read(files, MODEL_FILE))


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


def _read_json(files: Files, name: str) -> Any:
    try:
        return json.loads(_read(files, name))
    except ValueError as error:
        raise IntegrityError(f"{name} is not JSON: {error}") from error


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
