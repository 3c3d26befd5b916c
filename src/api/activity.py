"""``GET /activity``: what all workers did in the last hour, and which release each of them serves."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from operator import attrgetter

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from src.api.last_hour import LastHour
from src.api.schemas import ID
from src.api.telemetry import LATENCY, PREDICTIONS, REQUESTS, SECONDS, Telemetry, Totals
from src.core.wine import CLASSES

router = APIRouter(tags=["Health"])


class Minute(BaseModel):
    """What was answered in a minute; ``seconds`` is how much of it was counted."""

    time: datetime = Field(description="Its beginning", examples=["2026-03-01T06:00:00Z"])
    seconds: int = Field(examples=[60])
    requests: int = Field(examples=[120])
    predictions: int = Field(description="Rows", examples=[100])


class RouteActivity(BaseModel):
    """What a route answered; times are read off a histogram, between whose bounds they lie."""

    route: str = Field(examples=["/predict"])
    requests: int = Field(examples=[100])
    rejected: int = Field(description="Answered with 4xx", examples=[2])
    failed: int = Field(description="Answered with 5xx", examples=[0])
    median_seconds: float | None = Field(examples=[0.0004])
    p99_seconds: float | None = Field(description="Of a hundred answers 99 took no longer", examples=[0.0021])


class Worker(BaseModel):
    """A process that serves."""

    worker: str = Field(examples=["0"])
    process: int = Field(examples=[4711])
    release: str | None = Field(description="What it answers from; None where it has no release yet", examples=[ID])


class Activity(BaseModel):
    """The last hour of all workers, or as much of it as the service has been running."""

    since: datetime = Field(examples=["2026-03-01T06:00:00Z"])
    seconds: int = Field(description="From then to now, an hour at most", examples=[3600])
    routes: list[RouteActivity] = Field(description="Those that answered anything, the busiest first")
    predictions: dict[str, int] = Field(description="Rows by predicted class", examples=[{str(CLASSES[0]): 100}])
    minutes: list[Minute] = Field(description="Oldest first")
    workers: list[Worker]


@router.get("/activity")
def activity(request: Request) -> Activity:
    """Show what the service did in the last hour: rate, times, classes, and which release each worker serves."""
    telemetry: Telemetry = request.app.state.telemetry
    hour: LastHour = request.app.state.last_hour
    moments = hour.read(int(time.time()))
    (start, before), (now, after) = moments[0], moments[-1]
    requests, times = (_subtract(after, before, kind) for kind in (REQUESTS, LATENCY))
    routes = [_describe(route, requests, times) for route in {name.rpartition(" ")[0] for name in requests}]
    classes = _subtract(after, before, PREDICTIONS)
    return Activity(
        since=_spell(start),
        seconds=now - start,
        routes=sorted(routes, key=attrgetter("requests"), reverse=True),
        predictions={str(label): classes[str(label)] for label in CLASSES if classes[str(label)]},
        minutes=_list_minutes(moments),
        workers=[
            Worker(worker=worker, process=pid, release=release) for worker, pid, release in telemetry.list_workers()
        ],
    )


def find_quantile(counts: Sequence[int], share: float) -> float | None:
    """Return where this share of the times ends, as if those between two bounds were spread evenly."""
    left = sum(counts) * share
    if not left:
        return None
    for count, low, high in zip(counts, (0.0, *SECONDS), SECONDS, strict=False):
        if left <= count:
            return round(low + (high - low) * left / count, 6)
        left -= count
    return SECONDS[-1]


def _list_minutes(moments: Sequence[tuple[int, Totals]]) -> list[Minute]:
    return [
        Minute(
            time=_spell(start),
            seconds=end - start,
            requests=_subtract(after, before, REQUESTS).total(),
            predictions=_subtract(after, before, PREDICTIONS).total(),
        )
        for (start, before), (end, after) in pairwise(moments)
    ]


def _subtract(after: Totals, before: Totals, kind: str) -> Counter[str]:
    return Counter(after[kind]) - Counter(before[kind])


def _describe(route: str, requests: Counter[str], times: Counter[str]) -> RouteActivity:
    statuses = {name.rpartition(" ")[2]: number for name, number in requests.items() if _is_of(route, name)}
    counts = [times[f"{route} {place}"] for place in range(len(SECONDS) + 1)]
    return RouteActivity(
        route=route,
        requests=sum(statuses.values()),
        rejected=sum(number for status, number in statuses.items() if status.startswith("4")),
        failed=sum(number for status, number in statuses.items() if status.startswith("5")),
        median_seconds=find_quantile(counts, 0.5),
        p99_seconds=find_quantile(counts, 0.99),
    )


def _is_of(route: str, name: str) -> bool:
    return name.rpartition(" ")[0] == route


def _spell(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
