"""One row in, its class and probabilities out, by the release that is live at that moment."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from src.api.champion import LiveRelease
from src.api.logs import REQUEST_ID
from src.api.prediction_log import new_id
from src.api.routes import live_release
from src.api.schemas import Prediction, Problem, Wine
from src.api.telemetry import Telemetry
from src.core.prediction_record import ANSWER
from src.core.wine import FEATURES, NAME, TARGET

PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 408, 413, 422, 503)}
DIGITS = 1_000_000  # a probability is told to six of them

router = APIRouter(tags=["Predict"])
_encode = msgspec.json.Encoder().encode


@router.post(
    "/predict", response_model=Prediction, responses=PROBLEMS, description=f"Predict the {TARGET} of one {NAME}."
)
@router.post("/predict/", include_in_schema=False)
async def predict(request: Request, wine: Wine, live: Annotated[LiveRelease, Depends(live_release)]) -> Response:
    """Predict the class of one row of the table, with its probabilities."""
    values, state = [getattr(wine, feature.field) for feature in FEATURES], request.app.state
    content = answer(live, values, state.telemetry)
    state.log.add(content, values, (REQUEST_ID.get() or "").encode())
    return Response(content, media_type="application/json")


def answer(live: LiveRelease, values: Sequence[float], telemetry: Telemetry) -> bytes:
    """Return a :class:`Prediction` in JSON, and count it; for the event loop's thread alone."""
    label, probabilities = live.predict_row(values)
    ranges = live.ranges
    unusual = [n for n, value in enumerate(values) if not ranges[n][0] <= value <= ranges[n][1]]
    telemetry.count_row(live.id, label, unusual)
    prediction = {
        "id": new_id(),
        ANSWER: label,
        "probabilities": {
            name: round(p * DIGITS) / DIGITS for name, p in zip(live.classes, probabilities, strict=True)
        },
        "release": live.id,
        "warnings": [warn(FEATURES[n].field, values[n], *ranges[n]) for n in unusual],
    }
    return _encode(prediction)


def warn(field: str, value: float, lowest: float, highest: float) -> str:
    """Say that training saw no such value."""
    return f"{field} {value:.9g} is outside the range that training saw, {lowest:.9g} to {highest:.9g}"
