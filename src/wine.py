"""A wine: the 11 physico-chemical features, their units and possible values, and the quality classes.

Source: Cortez et al. (2009), UCI Machine Learning Repository, doi 10.24432/C56S3T, CC BY 4.0.
"""

from dataclasses import dataclass


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
