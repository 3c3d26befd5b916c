"""A linear classifier's weights, read from its ONNX graph, so that an answer is the sum of what each feature adds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from src.core.onnx_model import Model

BOTH = 2  # classes, of which ONNX counts the one's score and its opposite
TOLERANCE = 1e-3  # of a logarithm, where probabilities are float32
LEAST = 1e-4  # a probability below which its logarithm is too coarse to compare
STEPS = ("Scaler", "LinearClassifier")
HARMLESS = {*STEPS, "Normalizer", "Cast", "Identity"}


@dataclass(frozen=True)
class Linear:
    """Scores of classes: ``intercepts`` (classes,) at the ``mean`` row (features,), and what each feature adds.

    ``weights`` (classes, features) are of standardised values, which ``scale`` (features,) gives. The logarithm of two
    classes' odds is the difference of their scores.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    @classmethod
    def read(cls, model: Model, rows: np.ndarray) -> "Linear | None":
        """Return the weights of a model; None where it is not linear, or gives other odds for any of ``rows``."""
        import onnx  # takes 11 MB, and the API needs it where somebody asks why

        nodes = onnx.load_model_from_string(model.content).graph.node
        steps = [node for node in nodes if node.op_type in STEPS]
        if [node.op_type for node in steps] != list(STEPS) or {node.op_type for node in nodes} - HARMLESS:
            return None
        scaler, classifier = (
            {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            for node in steps
        )
        linear = cls._from_attributes(scaler, classifier)
        return linear if linear.gives_odds_of(model, rows) else None

    @classmethod
    def _from_attributes(cls, scaler: dict[str, Any], classifier: dict[str, Any]) -> "Linear":
        intercepts = np.array(classifier["intercepts"])
        weights = np.array(classifier["coefficients"]).reshape(len(intercepts), -1)
        if len(intercepts) == BOTH and classifier.get("post_transform") == b"LOGISTIC":
            weights, intercepts = weights / BOTH, intercepts / BOTH
        return cls(np.array(scaler["offset"]), np.array(scaler["scale"]), weights, intercepts)

    def contribute(self, rows: np.ndarray) -> np.ndarray:
        """Return what each feature adds to each class's score (rows, features, classes)."""
        added: np.ndarray = ((rows - self.mean) * self.scale)[:, :, None] * self.weights.T
        return added

    def gives_odds_of(self, model: Model, rows: np.ndarray) -> bool:
        """Say whether the scores of ``rows`` give the model's own odds."""
        _, probabilities = model.predict(rows)
        scores = self.intercepts + self.contribute(rows).sum(axis=1)
        if scores.shape != probabilities.shape:
            return False
        best = probabilities.argmax(axis=1)[:, None]
        odds = np.log(np.maximum(probabilities / np.take_along_axis(probabilities, best, 1), LEAST))
        ours = np.maximum(scores - np.take_along_axis(scores, best, 1), np.log(LEAST))
        return bool(np.allclose(ours, odds, rtol=TOLERANCE, atol=TOLERANCE))
