"""``GET /history`` and ``GET /decision``: who became the champion and why, and what the last daily run decided."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from src.api.reading import PROBLEMS, WITH_NONE, read, show
from src.api.schemas import ID
from src.core.run_decision import KEY, MAX_BYTES, RunDecision
from src.errors import MissingError
from src.registry import Promotion, read_history
from src.storage.reader import Reader

_REPLACED = "ba1c75817af9"
_METRICS: dict[str, Any] = {
    "challenger": {"Accuracy": 0.613, "F1_score": 0.593, "ROC_AUC": 0.801},
    "champion": {"Accuracy": 0.572, "F1_score": 0.512, "ROC_AUC": 0.701},
    "low": {"Accuracy": -0.017, "F1_score": 0.024, "ROC_AUC": 0.061},
    "high": {"Accuracy": 0.099, "F1_score": 0.137, "ROC_AUC": 0.141},
    "replay": {"rows": 292.0, "disagreement": 0.178, "distance": 0.198},
}
_REASON = "better beyond chance on 292 rows: ROC_AUC 0.701 → 0.801 (+0.061 to +0.141)"
PROMOTION_EXAMPLE = {
    "format": 1,
    "time": "2026-03-02T00:01:07.123456+00:00",
    "kind": "promote",
    "release": ID,
    "replaced": _REPLACED,
    "reason": _REASON,
    "by": "scheduled__2026-03-02T00:00:00+00:00",
    "metrics": _METRICS,
}
DECISION_EXAMPLE = {
    "format": 1,
    "time": "2026-03-02T00:01:02Z",
    "run": "scheduled__2026-03-02T00:00:00+00:00",
    "promote": True,
    "reason": _REASON,
    "release": ID,
    "champion": _REPLACED,
    "metrics": _METRICS,
    "looks": 2,
}

router = APIRouter(tags=["About"])


class History(BaseModel):
    """Changes of champion."""

    promotions: list[Promotion] = Field(description="Oldest first", examples=[[PROMOTION_EXAMPLE]])


@router.get("/history", responses=PROBLEMS)
async def history(
    last: Annotated[int, Query(ge=1, le=100, description="So many of them, the latest")] = 20,
) -> History:
    """Show changes of champion: who replaced whom, when, why, by whom, and with which figures."""
    return await read(_read_history, last)


@router.get("/decision", responses=WITH_NONE | show(DECISION_EXAMPLE))
async def decision() -> RunDecision:
    """Show what the last daily run decided, challenger beside champion, whether it promoted or not."""
    return await read(_read_decision)


def _read_history(last: int) -> History:
    return History(promotions=read_history(Reader.from_environment(), last))


def _read_decision() -> RunDecision:
    try:
        return RunDecision.read_json(Reader.from_environment().get(KEY, MAX_BYTES), KEY)
    except MissingError as error:
        raise MissingError("no daily run has compared anything yet; start one with: make run") from error
