"""The table: its file, columns, units, possible values, target and names. For another table, change this module alone.

Source: Cortez et al. (2009), UCI Machine Learning Repository, doi 10.24432/C56S3T, CC BY 4.0.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Feature:
    """One measured property; a value outside ``lowest`` to ``highest`` (inclusive) cannot be a wine's."""

    name: str
    unit: str
    lowest: float
    highest: float

    @property
    def field(self) -> str:
        """Return the name as requests and Python spell it: ``fixed_acidity`` for ``fixed acidity``."""
        return self.name.replace(" ", "_")

    @property
    def label(self) -> str:
        """Return the name with its unit, for people."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


NAME = "wine"  # one row; metrics and the DAG are named after it
TITLE = "Red wine quality"
DAG_ID = "wine_quality"
FILE = "winequality-red.csv"
FEATURES = (
    Feature("fixed acidity", "g/dm³ tartaric acid", 0.0, 50.0),
    Feature("volatile acidity", "g/dm³ acetic acid", 0.0, 10.0),
    Feature("citric acid", "g/dm³", 0.0, 10.0),
    Feature("residual sugar", "g/dm³", 0.0, 500.0),
    Feature("chlorides", "g/dm³ sodium chloride", 0.0, 10.0),
    Feature("free sulfur dioxide", "mg/dm³", 0.0, 1000.0),
    Feature("total sulfur dioxide", "mg/dm³", 0.0, 1000.0),
    Feature("density", "g/cm³", 0.9, 1.2),
    Feature("pH", "", 1.0, 7.0),
    Feature("sulphates", "g/dm³ potassium sulphate", 0.0, 10.0),
    Feature("alcohol", "% vol", 0.0, 25.0),
)
TARGET = "quality"
CLASSES = (3, 4, 5, 6, 7, 8)
# The table's first wine: what the documentation and the first request show.
EXAMPLE: dict[str, Any] = {
    "fixed_acidity": 7.4,
    "volatile_acidity": 0.7,
    "citric_acid": 0.0,
    "residual_sugar": 1.9,
    "chlorides": 0.076,
    "free_sulfur_dioxide": 11.0,
    "total_sulfur_dioxide": 34.0,
    "density": 0.9978,
    "pH": 3.51,
    "sulphates": 0.56,
    "alcohol": 9.4,
}
