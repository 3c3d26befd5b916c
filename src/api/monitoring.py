"""``GET /monitoring``: what the daily monitoring found, as the bucket holds it."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from src.api.schemas import ID, Problem
from src.core.day_figures import FOLDER, MAX_BYTES, DayFigures, is_figures, name_figures
from src.core.wine import CLASSES, FEATURES
from src.errors import IntegrityError, MissingError, StoreError
from src.storage.reader import Reader

_ESTIMATE = {"value": 0.592, "low": 0.512, "high": 0.672, "test": 0.613}
_SHARES = {str(label): round(1 / len(CLASSES), 3) for label in CLASSES}
_DISTANCES = {"stability_index": 0.081, "distance": 0.047, "low": 0.0, "high": 0.137, "wasserstein": 0.06}
EXAMPLE: dict[str, Any] = {
    "format": 1,
    "date": "2026-03-01",
    "rows": 312,
    "releases": {ID: 312},
    "release": ID,
    "drift": {
        "rows": 290,
        "features": [{"name": FEATURES[0].name, **_DISTANCES, "p": 1.0, "drifted": False}],
        "mix": {
            "expected": _SHARES,
            "found": _SHARES,
            "chi_square": 1.2,
            "distance": 0.02,
            "p": 1.0,
            "drifted": False,
        },
    },
    "performance": {"rows": 312, "labelled": 0, "expected_accuracy": _ESTIMATE, "measured": {}},
    "guard": None,
    "notes": [],
    "unread": {"count": 0, "told": []},
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": EXAMPLE}}},
    **{status: {"model": Problem} for status in (404, 422, 503)},
}

router = APIRouter(tags=["About"])


@router.get("/monitoring", responses=ANSWERS)
async def monitoring(
    day: Annotated[date | None, Query(alias="date", description="A day (UTC); else the latest")] = None,
) -> DayFigures:
    """Show drift and performance of a day's live traffic: of the latest that was measured, or of ``date``."""
    try:
        return await run_in_threadpool(_read, day)
    except MissingError as error:
        raise HTTPException(404, str(error)) from error
    except (IntegrityError, StoreError) as error:
        raise HTTPException(503, str(error)) from error


def _read(day: date | None) -> DayFigures:
    reader = Reader.from_environment()
    key = name_figures(day.isoformat()) if day else _find_latest(reader)
    try:
        content = reader.get(key, MAX_BYTES)
    except MissingError as error:
        told = f"that day was not measured; measure it with: python -m src.monitoring run --date {day}"
        raise MissingError(told) from error
    return DayFigures.read_json(content, key)


def _find_latest(reader: Reader) -> str:
    keys = list(filter(is_figures, reader.list(FOLDER)))
    if not keys:
        raise MissingError("no day was measured yet; measure yesterday with: python -m src.monitoring run")
    return max(keys)
