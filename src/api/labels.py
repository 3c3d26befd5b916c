"""``POST /labels``: what turned out true of predictions, taken once for each."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from src.api.logs import REQUEST_ID
from src.api.prediction_log import PredictionLog
from src.api.schemas import PREDICTION_ID, Problem
from src.core.prediction_record import find_time
from src.core.wine import CLASSES, NAME, TARGET
from src.errors import StackError
from src.storage.prediction_log import Faults, find_predictions, take_labels
from src.storage.reader import Reader

logger = logging.getLogger("uvicorn.error")
MOST = 1000
POLL = 0.1  # seconds between two polls of the disk
RECENT = 3.0  # seconds in which a prediction may be in the memory of a worker alone
PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (400, 408, 413, 422, 503)}

PredictionId = Annotated[
    str,
    Field(
        pattern="^[0-9a-f]{24}(-[0-9]{1,9})?$",
        description="The id of a prediction; for a row of a batch its id, a hyphen, and the row's number from 0",
    ),
]
_fields: dict[str, Any] = {
    "id": (PredictionId, ...),
    TARGET: (Literal[CLASSES], Field(description=f"The true {TARGET}")),
}
NewLabel: Any = create_model(
    "NewLabel",
    __config__=ConfigDict(extra="forbid", json_schema_extra={"example": {"id": PREDICTION_ID, TARGET: CLASSES[0]}}),
    __doc__=f"The true {TARGET} of one {NAME}.",
    **_fields,
)


class Taken(BaseModel):
    """What became of labels; each prediction is named in one place."""

    taken: list[str] = Field(description="Predictions that have their label now", examples=[[PREDICTION_ID]])
    unknown: list[str] = Field(
        description="Not found; what another machine answered is found when it was sent, after a minute", examples=[[]]
    )
    labelled_before: list[str] = Field(description="Had this label already", examples=[[]])
    labelled_otherwise: dict[str, int] = Field(
        description="Had another label already, which stands: that label", examples=[{}]
    )


router = APIRouter(tags=["Predict"])


@router.post("/labels", responses=PROBLEMS, description=f"Tell the true {TARGET} of predictions; the first stands.")
async def label(request: Request, labels: Annotated[list[NewLabel], Body(min_length=1, max_length=MOST)]) -> Taken:
    """Keep labels of predictions that were logged."""
    told = [(content["id"], content[TARGET]) for content in (one.model_dump() for one in labels)]
    try:
        return await run_in_threadpool(_take, request.app.state.log, told, REQUEST_ID.get())
    except StackError as error:
        raise HTTPException(503, str(error)) from error


def _take(log: PredictionLog, told: Sequence[tuple[str, int]], request_id: str | None) -> Taken:
    known = _find(log, log.store, {identifier for identifier, _ in told})
    return Taken(**asdict(take_labels(log.store, told, known, f"api:{request_id}")))


def _find(log: PredictionLog, store: Reader, ids: set[str]) -> set[str]:
    """Return those that are known: on this machine's disk or, from where they come, in the bucket."""
    deadline = time.monotonic() + RECENT
    recent = {one for one in ids if abs(time.time() - find_time(one).timestamp()) < RECENT}
    known = log.spool.find(ids)
    while recent - known and time.monotonic() < deadline:
        time.sleep(POLL)
        known |= log.spool.find(recent - known)
    faults = Faults()
    known |= find_predictions(store, ids - known, faults).keys()
    for fault in faults.told:
        logger.warning("a label's prediction may be in what cannot be read: %s", fault)
    return known
