"""The hot path: one row in, its class and probabilities out, by the release that is live at that moment."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request

from src.api.champion import LiveRelease
from src.api.routes import live_release
from src.api.schemas import Prediction, Problem, Wine
from src.core.wine import FEATURES, NAME, TARGET

PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (408, 413, 422, 503)}

router = APIRouter()


@router.post("/predict", responses=PROBLEMS, description=f"Predict the {TARGET} of one {NAME}.")
@router.post("/predict/", include_in_schema=False)
async def predict(request: Request, wine: Wine, live: Annotated[LiveRelease, Depends(live_release)]) -> Prediction:
    """Predict the class of one row of the table, with its probabilities."""
    telemetry = request.app.state.telemetry
    values = [getattr(wine, feature.field) for feature in FEATURES]
    start = time.perf_counter()
    labels, probabilities = live.release.model.predict(np.array([values]))
    telemetry.seconds.observe(time.perf_counter() - start)
    telemetry.predictions.labels(live.id).inc()
    classes = live.release.provenance.classes
    return Prediction(
        predicted=int(labels[0]),
        probabilities={str(label): round(float(p), 6) for label, p in zip(classes, probabilities[0], strict=True)},
        release=live.id,
        warnings=_find_unusual(live, values),
    )


def _find_unusual(live: LiveRelease, values: Sequence[float]) -> list[str]:
    return [
        f"{feature.field} {value:.9g} is outside the range that training saw, {seen.minimum:.9g} to {seen.maximum:.9g}"
        for feature, seen, value in zip(FEATURES, live.release.provenance.features, values, strict=True)
        if not seen.minimum <= value <= seen.maximum
    ]
