"""What the daily monitoring found, and what people are told of, as the bucket holds both."""

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from src import alerts as known_alerts
from src.api.reading import PROBLEMS, WITH_NONE, read, show
from src.api.schemas import ID
from src.core.day_figures import FOLDER, MAX_BYTES, DayFigures, Performance, is_figures, name_figures
from src.core.wine import CLASSES, FEATURES
from src.errors import IntegrityError, MissingError
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

router = APIRouter(tags=["About"])


class MeasuredDay(BaseModel):
    """A day in short; ``GET /monitoring?date=`` has all of it."""

    date: str = Field(examples=["2026-03-01"])
    rows: int = Field(examples=[312])
    release: str | None = Field(description="That answered most of them", examples=[ID])
    drifted: list[str] | None = Field(description="Features that did; None where nothing can be told", examples=[[]])
    mix_drifted: bool = Field(description="The mix of predicted classes did", examples=[False])
    performance: Performance | None = Field(examples=[None])
    is_worse: bool = Field(
        description="The guard found the champion worse than the release it replaced", examples=[False]
    )


class MeasuredDays(BaseModel):
    """The latest days that were measured."""

    days: list[MeasuredDay] = Field(description="Oldest first")
    unread: list[str] = Field(description="What the bucket holds of other days and cannot be read", examples=[[]])


class Alert(BaseModel):
    """A problem that people are told of: once, and once more when it is over."""

    kind: str = Field(examples=[known_alerts.DRIFT])
    what: str = Field(examples=[f"{FEATURES[0].name} drifted from what release {ID} was trained on"])
    since: datetime = Field(examples=["2026-03-01T06:00:00Z"])
    command: str = Field(description="What to run", examples=["python -m src.monitoring run --date 2026-03-01"])
    told: bool = Field(description="Somebody was told of it", examples=[True])
    over: datetime | None = Field(description="When it ended, until that was told", examples=[None])


class Alerts(BaseModel):
    """The problems that are known."""

    alerts: list[Alert]


@router.get("/monitoring", responses=WITH_NONE | show(EXAMPLE))
async def monitoring(
    day: Annotated[date | None, Query(alias="date", description="A day (UTC); else the latest")] = None,
) -> DayFigures:
    """Show drift and performance of a day's live traffic: of the latest that was measured, or of ``date``."""
    return await read(_read, day)


@router.get("/monitoring/days", responses=PROBLEMS)
async def days(
    last: Annotated[int, Query(ge=1, le=90, description="So many of them, the latest")] = 14,
) -> MeasuredDays:
    """Show the latest days that were measured, in short."""
    return await read(_read_days, last)


@router.get("/alerts", responses=PROBLEMS)
async def alerts() -> Alerts:
    """Show the problems that the stack knows of: failed runs, drift, a champion that labels call worse."""
    return await read(_read_alerts)


def _read(day: date | None) -> DayFigures:
    reader = Reader.from_environment()
    key = name_figures(day.isoformat()) if day else _find_latest(reader)
    try:
        content = reader.get(key, MAX_BYTES)
    except MissingError as error:
        told = f"that day was not measured; measure it with: python -m src.monitoring run --date {day}"
        raise MissingError(told) from error
    return DayFigures.read_json(content, key)


def _read_days(last: int) -> MeasuredDays:
    reader = Reader.from_environment()
    found = MeasuredDays(days=[], unread=[])
    for key in [*filter(is_figures, reader.list(FOLDER))][-last:]:
        try:
            found.days.append(_describe(DayFigures.read_json(reader.get(key, MAX_BYTES), key)))
        except IntegrityError as error:
            found.unread.append(str(error))
    return found


def _describe(day: DayFigures) -> MeasuredDay:
    return MeasuredDay(
        date=day.date,
        rows=day.rows,
        release=day.release,
        drifted=[one.name for one in day.drift.features if one.drifted] if day.drift else None,
        mix_drifted=day.drift is not None and day.drift.mix.drifted,
        performance=day.performance,
        is_worse=day.guard is not None and day.guard.is_worse,
    )


def _read_alerts() -> Alerts:
    known = known_alerts.read_known(Reader.from_environment())
    return Alerts(alerts=[Alert(kind=kind, **one.model_dump(exclude={"format"})) for kind, one in known.items()])


def _find_latest(reader: Reader) -> str:
    keys = list(filter(is_figures, reader.list(FOLDER)))
    if not keys:
        raise MissingError("no day was measured yet; measure yesterday with: python -m src.monitoring run")
    return max(keys)
