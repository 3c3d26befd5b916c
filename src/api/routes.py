"""What the service says of itself: its health, the release that serves, and its metrics."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from src import __version__
from src.api.champion import Champion, LiveRelease
from src.api.prediction_log import PredictionLog
from src.api.schemas import (
    ID,
    Alive,
    Health,
    KnownFeature,
    LogHealth,
    Problem,
    Ready,
    RejectedRelease,
    ReleaseDescription,
    StoreHealth,
)
from src.api.telemetry import PREFIX
from src.core.release import FeatureRange
from src.core.table import Feature
from src.core.wine import FEATURES, NAME, TARGET, TITLE

probes = APIRouter(tags=["Health"])
router = APIRouter(tags=["About"])


def live_release(request: Request) -> LiveRelease:
    """Return the release to answer this request from.

    Raises:
        HTTPException: 503 while there is none.

    """
    champion: Champion = request.app.state.champion
    if champion.live is None:
        raise HTTPException(503, _why_not_ready(champion))
    return champion.live


Live = Annotated[LiveRelease, Depends(live_release)]


@probes.get("/", include_in_schema=False)
async def home() -> Response:
    """Show the documentation."""
    return RedirectResponse("/docs")


@probes.get("/liveness")
async def liveness() -> Alive:
    """Say that the process answers."""
    return Alive()


@probes.get("/readiness", responses={503: {"model": Problem}})
async def readiness(request: Request, live: Live) -> Ready:
    """Say whether a verified release is loaded, and new requests are welcome."""
    if request.app.state.is_leaving:
        raise HTTPException(503, "the service is about to stop")
    return Ready(release=live.id)


@probes.get("/healthcheck", responses={503: {"model": Health, "description": "It cannot predict"}})
async def healthcheck(request: Request, response: Response) -> Health:
    """Show the service's parts; 503 when it cannot predict."""
    champion: Champion = request.app.state.champion
    live, status = champion.live, champion.status
    log: PredictionLog = request.app.state.log
    degraded = status.store_error or status.rejection or status.cache_error or log.spool.error
    sent = log.spool.seconds_since_sent
    if live is None:
        response.status_code = 503
    return Health(
        status="down" if live is None else "degraded" if degraded else "ok",
        release=live.id if live else None,
        store=StoreHealth(
            reachable=status.polled_at is not None and status.store_error is None,
            seconds_since_last_poll=None if status.age is None else round(status.age, 1),
            error=status.store_error,
        ),
        cache_error=status.cache_error,
        rejected=RejectedRelease(**asdict(status.rejection)) if status.rejection else None,
        predictions=LogHealth(
            pending_bytes=log.pending,
            seconds_since_last_sent=None if sent is None else round(sent, 1),
            dropped=request.app.state.telemetry.sum_dropped(),
            error=log.spool.error,
        ),
    )


@router.get("/release", responses={503: {"model": Problem}})
async def release(live: Live) -> ReleaseDescription:
    """Show what is serving: what its bytes were made of, its metrics, and who made and promoted it."""
    provenance = live.release.provenance
    described: dict[str, Any] = {
        "id": live.id,
        "title": TITLE,
        "name": NAME,
        "version": __version__,
        "pointer": live.pointer.to_out(),
        "metrics": live.release.metrics.model_dump(exclude={"format"}),
        **provenance.model_dump(exclude={"format", "features"}),
        "features": list(map(_describe, provenance.features, FEATURES)),
        "target": TARGET,
        "meta": live.pointer.meta,
    }
    return ReleaseDescription.model_validate(described)


_METRIC = f'{PREFIX}_release_info{{release="{ID}"}} 1.0\n'


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": _METRIC}}}},
)
async def metrics(request: Request) -> Response:
    """Show counters and gauges for Prometheus."""
    return PlainTextResponse(generate_latest(request.app.state.telemetry.registry))


def _describe(seen: FeatureRange, known: Feature) -> KnownFeature:
    limits = {"lowest": known.lowest, "highest": known.highest}
    return KnownFeature(**seen.model_dump(), **limits, field=known.field, label=known.label)


def _why_not_ready(champion: Champion) -> str:
    status = champion.status
    if status.rejection:
        return f"release {status.rejection.release} is rejected: {status.rejection.reason}"
    if status.store_error:
        return f"no release yet: {status.store_error}"
    if status.polled_at is None:
        return "no release yet: the champion is being read"
    return "no release yet: no champion was promoted; the daily run makes one"
