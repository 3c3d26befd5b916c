"""``POST /explain``: what one row's answer is made of, and the least change of one feature that gives a higher class.

It is for a person who tries values: nothing of it is logged or counted as a prediction.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from src.api.champion import LiveRelease
from src.api.predict import PROBLEMS, warn
from src.api.routes import live_release
from src.api.schemas import ID, PROBABILITIES, Wine
from src.core.prediction_record import ANSWER
from src.core.table import describe_classes
from src.core.wine import CLASSES, EXAMPLE, FEATURES, NAME, TARGET

VALUES = 201  # of a feature that are tried, from the least that training saw to the greatest
DIGITS = 4  # of a value that is tried, as a person would type it
DECIMALS = 6
LEAST = 1e-12  # of a probability, so that it has a logarithm

_first, _last = str(CLASSES[0]), str(CLASSES[-1])
_field = FEATURES[0].field
_scores = {_first: 1.1, _last: -0.4}


class Change(BaseModel):
    """A value of one feature that gives a higher class while the others stay."""

    model_config = ConfigDict(validate_by_name=True)

    field: str = Field(examples=[_field])
    value: float = Field(description="The nearest value that does", examples=[EXAMPLE[_field]])
    predicted: int = Field(alias=ANSWER, description="The class that it gives", examples=[CLASSES[-1]])
    distance: float = Field(description="From the value now, in standard deviations of training", examples=[0.8])


class Explanation(BaseModel):
    """A prediction, and how it came about: scores add up, and the odds of two classes are exp(their difference)."""

    model_config = ConfigDict(validate_by_name=True)

    release: str = Field(description="Id of the release that answered", examples=[ID])
    predicted: int = Field(
        alias=ANSWER, description=f"The most probable class, {describe_classes(CLASSES)}", examples=[CLASSES[0]]
    )
    probabilities: dict[str, float] = Field(description="Probability of each class", examples=[PROBABILITIES])
    warnings: list[str] = Field(description="Features outside what training saw", examples=[[]])
    method: Literal["linear", "one at a time"] = Field(
        description="linear: weight times standardised value, which is exact; else what the logarithm of each "
        "probability gains over a row whose feature is the median"
    )
    baseline: dict[str, float] = Field(description="The row that it is set against", examples=[EXAMPLE])
    start: dict[str, float] = Field(description="Each class's score of that row", examples=[_scores])
    contributions: dict[str, dict[str, float]] = Field(
        description="What each feature adds to each class's score", examples=[{_field: _scores}]
    )
    changes: list[Change] = Field(description="Of each feature that can do it alone; the least change first")


router = APIRouter(tags=["Predict"])


@router.post(
    "/explain",
    response_model=Explanation,
    responses=PROBLEMS,
    description=f"Predict the {TARGET} of one {NAME} without logging it, and say why, and what would change it.",
)
async def explain(wine: Wine, live: Annotated[LiveRelease, Depends(live_release)]) -> Explanation:
    """Explain the class of one row."""
    values = np.array([getattr(wine, feature.field) for feature in FEATURES], float)
    return await run_in_threadpool(_explain, live, values)


def _explain(live: LiveRelease, values: np.ndarray) -> Explanation:
    labels, probabilities = live.release.model.predict(values[None])
    label = int(labels[0])
    start, added, baseline = _contribute(live, values)
    unusual = [n for n, value in enumerate(values) if not live.ranges[n][0] <= value <= live.ranges[n][1]]
    return Explanation(
        release=live.id,
        predicted=label,
        probabilities=_name(live.classes, probabilities[0]),
        warnings=[warn(FEATURES[n].field, values[n], *live.ranges[n]) for n in unusual],
        method="linear" if live.linear else "one at a time",
        baseline={feature.field: float(value) for feature, value in zip(FEATURES, baseline, strict=True)},
        start=_name(live.classes, start),
        contributions={feature.field: _name(live.classes, one) for feature, one in zip(FEATURES, added, strict=True)},
        changes=sorted(_find_changes(live, values, label), key=lambda change: change.distance),
    )


def _contribute(live: LiveRelease, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the baseline's scores (classes,), what the features add (features, classes), and the baseline."""
    if linear := live.linear:
        return linear.intercepts, linear.contribute(values[None])[0], linear.mean
    medians = np.array([feature.median for feature in live.release.provenance.features])
    rows = np.vstack([medians, values, np.where(np.eye(len(values), dtype=bool), medians, values)])
    scores = np.log(np.maximum(live.release.model.predict(rows)[1].astype(float), LEAST))
    return scores[0], scores[1] - scores[2:], medians


def _find_changes(live: LiveRelease, values: np.ndarray, label: int) -> Iterator[Change]:
    tried = [_list_values(*ends) for ends in live.ranges]
    rows = np.tile(values, (sum(map(len, tried)), 1))
    columns = np.repeat(np.arange(len(values)), list(map(len, tried)))
    rows[np.arange(len(rows)), columns] = np.concatenate(tried)
    labels, _ = live.release.model.predict(rows)
    for column, spread in enumerate(_spreads(live)):
        higher = (columns == column) & (labels > label)
        if higher.any():
            found, classes = rows[higher, column], labels[higher]
            nearest = int(np.abs(found - values[column]).argmin())
            distance = abs(float(found[nearest]) - float(values[column])) / spread
            yield Change(
                field=FEATURES[column].field,
                value=float(found[nearest]),
                predicted=int(classes[nearest]),
                distance=round(distance, DECIMALS),
            )


def _list_values(lowest: float, highest: float) -> np.ndarray:
    """Return values of a feature that a person would type, ascending."""
    values = [float(f"{value:.{DIGITS}g}") for value in np.linspace(lowest, highest, VALUES)]
    return np.array([value for value in values if lowest <= value <= highest])


def _spreads(live: LiveRelease) -> list[float]:
    """Return the standard deviation of each feature on train; without a profile, as if its range held six."""
    if profile := live.release.profile:
        found = [float(np.std(feature.quantiles)) for feature in profile.features]
    else:
        found = [(highest - lowest) / 6 for lowest, highest in live.ranges]
    return [spread or 1.0 for spread in found]


def _name(classes: list[str], numbers: np.ndarray) -> dict[str, Any]:
    return {name: round(float(number), DECIMALS) for name, number in zip(classes, numbers, strict=True)}
