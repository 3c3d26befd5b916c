"""The exported model is the fitted one, and equal input gives equal bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.config import MODEL, PARAMETERS, PROJECT, SPLIT
from src.core import dataset, models
from src.core.onnx_model import Model
from src.core.wine import TARGET

PRINT_MD5 = """
import hashlib, sys
from pathlib import Path
from src.core import dataset, models
from src.config import MODEL, PARAMETERS, SPLIT
train, _ = dataset.split(dataset.read(Path(sys.argv[1])), SPLIT)
print(hashlib.md5(models.export(models.fit(MODEL, PARAMETERS, train))).hexdigest())
"""


@pytest.fixture(scope="module")
def split(data_csv: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return dataset.split(dataset.read(data_csv), SPLIT)


def test_onnx_answers_as_scikit_learn_does(split: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train, test = split
    fitted = models.fit(MODEL, PARAMETERS, train)
    features = test[dataset.FEATURE_NAMES]
    labels, probabilities = Model(models.export(fitted)).predict(features.to_numpy())
    np.testing.assert_allclose(probabilities, fitted.predict_proba(features), atol=2e-5)
    np.testing.assert_array_equal(labels, fitted.predict(features))


def test_onnx_answers_so_for_two_classes_too(split: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    train, test = (rows.assign(**{TARGET: rows[TARGET].gt(5).map({False: -2, True: 4})}) for rows in split)
    fitted = models.fit(MODEL, PARAMETERS, train)
    features = test[dataset.FEATURE_NAMES]
    labels, probabilities = Model(models.export(fitted)).predict(features.to_numpy())
    assert set(labels) == {-2, 4}
    np.testing.assert_allclose(probabilities, fitted.predict_proba(features), atol=2e-5)
    np.testing.assert_array_equal(labels, fitted.predict(features))


def test_two_processes_make_the_same_bytes(data_csv: Path) -> None:
    command = [sys.executable, "-c", PRINT_MD5, str(data_csv)]
    outputs = {subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(outputs) == 1
