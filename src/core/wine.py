"""The table: its file, columns, units, possible values, target and names. For another table, change this module alone.

Source: Cortez et al. (2009), UCI Machine Learning Repository, doi 10.24432/C56S3T, CC BY 4.0.
"""

from typing import Any

from src.core.table import Feature

NAME = "wine"  # one row; metrics are named after it
TITLE = "Red wine quality"  # of the page and the API
DAG_ID = "wine_quality"
FILE = "winequality-red.csv"  # in data/
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
CLASSES = (3, 4, 5, 6, 7, 8)  # two integers or more, ascending
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
