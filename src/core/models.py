"""Candidate models by name: build, fit, export to ONNX."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from src.core.dataset import FEATURE_NAMES
from src.core.wine import TARGET

INPUT = "features"
CANDIDATES: dict[str, Callable[..., Pipeline]] = {
    "LogisticRegression": lambda **parameters: make_pipeline(StandardScaler(), LogisticRegression(**parameters)),
    "RandomForestClassifier": lambda **parameters: make_pipeline(RandomForestClassifier(**parameters)),
    "DecisionTreeClassifier": lambda **parameters: make_pipeline(DecisionTreeClassifier(**parameters)),
    "GradientBoostingClassifier": lambda **parameters: make_pipeline(GradientBoostingClassifier(**parameters)),
    "KNeighborsClassifier": lambda **parameters: make_pipeline(StandardScaler(), KNeighborsClassifier(**parameters)),
}


def fit(name: str, parameters: Mapping[str, Any], table: pd.DataFrame) -> Pipeline:
    """Return the candidate ``name`` fitted to a labelled table; one thread, so that equal input gives equal bits."""
    with threadpool_limits(1):
        return CANDIDATES[name](**parameters).fit(table[FEATURE_NAMES], table[TARGET])


def export(model: Pipeline) -> bytes:
    """Return the model as ONNX: ``features`` (rows, features) float32 to ``label`` (rows,) and ``probabilities``."""
    from skl2onnx import to_onnx  # takes seconds, and the search's workers export nothing
    from skl2onnx.common.data_types import FloatTensorType

    features = [(INPUT, FloatTensorType([None, len(FEATURE_NAMES)]))]
    exported: bytes = to_onnx(model, initial_types=features, options={"zipmap": False}).SerializeToString()
    return exported
