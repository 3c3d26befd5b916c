"""``GET /release/evaluation``: the live release on the rows that were held out, answered anew by the served file."""

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from src.api.champion import LiveRelease
from src.api.profile import read_rows
from src.api.reading import PROBLEMS
from src.api.routes import Live
from src.api.schemas import ID
from src.core.profile import calibrate
from src.core.wine import CLASSES

_CONFUSION = [[10 * (row == column) + 1 for column in range(len(CLASSES))] for row in range(len(CLASSES))]
router = APIRouter(tags=["About"])


class CalibrationBin(BaseModel):
    """As many test rows as in any other bin: how sure the model is of its answers, and how often it is right."""

    confidence: float = Field(examples=[0.62])
    accuracy: float = Field(examples=[0.6])


class Evaluation(BaseModel):
    """What the live release answers about the rows that were held out."""

    release: str = Field(examples=[ID])
    rows: int = Field(examples=[sum(map(sum, _CONFUSION))])
    classes: list[int] = Field(examples=[list(CLASSES)])
    confusion: list[list[int]] = Field(description="Rows by true class, then by predicted class", examples=[_CONFUSION])
    calibration: list[CalibrationBin] = Field(description="By ascending confidence")


@router.get("/release/evaluation", responses=PROBLEMS)
async def evaluation(live: Live) -> Evaluation:
    """Show the confusion matrix and the calibration of what is serving, on the rows that were held out."""
    return await run_in_threadpool(_evaluate, live)


def _evaluate(live: LiveRelease) -> Evaluation:
    values, truth = read_rows(live, "test")
    labels, probabilities = live.release.model.predict(values)
    classes = live.release.provenance.classes
    places = {label: place for place, label in enumerate(classes)}
    confusion = np.zeros((len(classes), len(classes)), int)
    for true, label in zip(truth.tolist(), labels.tolist(), strict=True):
        if true in places:
            confusion[places[true], places[label]] += 1
    found = calibrate(probabilities.max(axis=1), labels == truth)
    return Evaluation(
        release=live.id,
        rows=len(truth),
        classes=list(classes),
        confusion=confusion.tolist(),
        calibration=[
            CalibrationBin(confidence=confidence, accuracy=accuracy)
            for confidence, accuracy in zip(found.confidence, found.accuracy, strict=True)
        ],
    )
