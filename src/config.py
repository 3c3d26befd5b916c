"""What a person may change: hyper-parameters, split and promotion rule here, settings in the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dotenv import load_dotenv
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from src.errors import ConfigError

S = TypeVar("S", bound=BaseSettings)

PROJECT = Path(__file__).resolve().parent.parent
DATA_POINTER = PROJECT / "data.dvc"
DATA_FILE = "winequality-red.csv"

MODEL = "LogisticRegression"
PARAMETERS: dict[str, Any] = {
    "C": 10.0,
    "l1_ratio": 0,  # the l2 penalty, as scikit-learn 1.9 spells it
    "solver": "lbfgs",
    "class_weight": None,
    "max_iter": 1000,
    "random_state": 42,
}
# What the search measured when it chose these parameters (task LR_31).
FIGURES: dict[str, dict[str, float]] = {
    "cv": {"Accuracy": 0.583791, "F1_score": 0.564312, "ROC_AUC": 0.80483},
    "train": {"Accuracy": 0.597552, "F1_score": 0.577057, "ROC_AUC": 0.852261},
    "test": {"Accuracy": 0.613014, "F1_score": 0.593457, "ROC_AUC": 0.801029},
}

# What `python -m src.learn_models` tries: every combination of the listed values, in this order.
GRID: dict[str, dict[str, list[Any]]] = {
    "RandomForestClassifier": {
        "max_depth": [4, 8, 12, None],
        "min_samples_leaf": [1, 2, 5, 10],
        "n_estimators": [100, 200],
        "random_state": [42],
    },
    "LogisticRegression": {
        "C": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
        "class_weight": [None, "balanced"],
        "solver": ["lbfgs", "newton-cg", "newton-cholesky"],
        "l1_ratio": [0],  # l2, the penalty that every multiclass solver knows
        "max_iter": [1000],
        "random_state": [42],
    },
}
TASK_PREFIXES = {"RandomForestClassifier": "RFC", "LogisticRegression": "LR"}


@dataclass(frozen=True)
class Split:
    """Which rows are held out: those whose salted feature hash falls in the first ``test_share`` of all hashes."""

    salt: str = "red-wine"
    test_share: float = 0.2


@dataclass(frozen=True)
class PromotionRule:
    """A challenger must raise ROC_AUC, and lose no more than ``tolerance`` on any other metric."""

    tolerance: float = 0.01


@dataclass(frozen=True)
class SearchRule:
    """Cross-validation inside train picks the parameters; scores equal to ``decimals`` are ties, won by the first."""

    metric: str = "ROC_AUC"
    folds: int = 5
    decimals: int = 3
    seed: int = 42


SPLIT = Split()
PROMOTION_RULE = PromotionRule()
SEARCH_RULE = SearchRule()


class StoreSettings(BaseSettings):
    """Where the bytes are; the endpoint, keys and region are the standard ``AWS_*`` variables."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    bucket: str = Field(min_length=3, description="The bucket's name")


class ApiSettings(StoreSettings):
    """The API's own settings."""

    api_cache: Path = Field(PROJECT / ".stack" / "api", description="Folder that keeps the last good release")
    api_poll_seconds: float = Field(2.0, gt=0, description="Seconds between two looks at the champion's pointer")


class TrackingSettings(BaseSettings):
    """Where experiments are reported; without both keys they stay on this machine."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    clearml_project: str = Field("red-wine-quality", min_length=3, description="The project of all ClearML tasks")
    clearml_api_host: str = Field("https://api.clear.ml", description="ClearML's API")
    clearml_web_host: str = Field("https://app.clear.ml", description="ClearML's pages")
    clearml_files_host: str = Field("https://files.clear.ml", description="ClearML's files")
    clearml_api_access_key: SecretStr | None = Field(None, description="The first of ClearML's two keys")
    clearml_api_secret_key: SecretStr | None = Field(None, description="The second of ClearML's two keys")


def load_environment() -> None:
    """Add the variables of the project's ``.env`` to the environment, where those already set win.

    A service of ``make up`` was told its own, and reads no other's secrets.
    """
    if "STACK_HOME" not in os.environ:
        load_dotenv(PROJECT / ".env", override=False)
    os.environ.update(direct_loopback(os.environ))


def direct_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep what talks to this machine off the shell's HTTP proxy."""
    hosts = [environment.get("NO_PROXY") or environment.get("no_proxy") or "", "127.0.0.1", "localhost"]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, hosts)))


def read_settings(settings: type[S]) -> S:
    """Return ``settings`` read from the environment.

    Raises:
        ConfigError: names every variable that is missing or wrong.

    """
    try:
        return settings()
    except ValidationError as error:
        problems = [f"{str(problem['loc'][0]).upper()}: {problem['msg'].lower()}" for problem in error.errors()]
        raise ConfigError(f"{'; '.join(problems)}. Set it in .env (each variable is in .env_example)") from error
