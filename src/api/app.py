"""The prediction service: ``uvicorn src.api.app:app``."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from src.api.champion import Champion, LiveRelease
from src.api.limits import BodyLimit, Limits
from src.api.problems import tell_problems
from src.api.schemas import Health, Prediction, Problem, RejectedRelease, StoreHealth, Wine
from src.api.telemetry import Telemetry
from src.core.wine import FEATURES
from src.settings import ApiSettings, load_environment, read_settings
from src.storage.bucket import Bucket

DESCRIPTION = "Predicts the quality of a red wine from 11 physico-chemical features, by the current champion."


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Serve the last good release from disk at once, and follow the champion until shutdown."""
    load_environment()
    settings = read_settings(ApiSettings)
    app.state.is_leaving = False
    app.state.limits = Limits(settings.api_max_body_bytes, settings.api_request_seconds)
    champion = app.state.champion = Champion(Bucket.from_environment(), settings.api_cache, settings.api_poll_seconds)
    telemetry = app.state.telemetry = Telemetry()
    telemetry.follow(champion)
    champion.restore()
    with champion.polling():
        yield


app = FastAPIOffline(  # Swagger UI comes from the package: a browser at /docs asks no other host
    title="Wine quality", description=DESCRIPTION, version="1", lifespan=lifespan, redoc_url=None
)
app.add_middleware(BodyLimit)
tell_problems(app)


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
PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (408, 413, 422, 503)}


@app.get("/", include_in_schema=False)
async def home() -> Response:
    """Show the documentation."""
    return RedirectResponse("/docs")


@app.post("/predict", responses=PROBLEMS)
@app.post("/predict/", include_in_schema=False)
async def predict(request: Request, wine: Wine, live: Live) -> Prediction:
    """Predict the quality of one wine."""
    telemetry = request.app.state.telemetry
    values = [getattr(wine, feature.field) for feature in FEATURES]
    start = time.perf_counter()
    labels, probabilities = live.release.model.predict(np.array([values]))
    telemetry.seconds.observe(time.perf_counter() - start)
    telemetry.predictions.labels(live.id).inc()
    classes = live.release.provenance.classes
    return Prediction(
        predicted_quality=int(labels[0]),
        probabilities={str(label): round(float(p), 6) for label, p in zip(classes, probabilities[0], strict=True)},
        release=live.id,
        warnings=_find_unusual(live, values),
    )


@app.get("/liveness")
async def liveness() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@app.get("/readiness", responses={503: {"model": Problem}})
async def readiness(request: Request, live: Live) -> dict[str, str]:
    """Say whether a verified release is loaded, and new requests are welcome."""
    if request.app.state.is_leaving:
        raise HTTPException(503, "the service is about to stop")
    return {"status": "ready", "release": live.id}


@app.get("/healthcheck", responses={503: {"model": Health}})
async def healthcheck(request: Request, response: Response) -> Health:
    """Show the service's parts; 503 when it cannot predict."""
    champion: Champion = request.app.state.champion
    live, status = champion.live, champion.status
    degraded = status.store_error or status.rejection or status.cache_error
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
    )


@app.get("/release", responses={503: {"model": Problem}})
async def release(live: Live) -> dict[str, Any]:
    """Show what is serving: what its bytes were made of, its metrics, and who made and promoted it."""
    return {
        "id": live.id,
        "pointer": live.pointer.to_out(),
        "metrics": live.release.metrics.model_dump(exclude={"format"}),
        **live.release.provenance.model_dump(exclude={"format"}),
        "meta": live.pointer.meta,
    }


@app.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Show counters and gauges for Prometheus."""
    return PlainTextResponse(generate_latest(request.app.state.telemetry.registry))


def _why_not_ready(champion: Champion) -> str:
    status = champion.status
    if status.rejection:
        return f"release {status.rejection.release} is rejected: {status.rejection.reason}"
    if status.store_error:
        return f"no release yet: {status.store_error}"
    if status.polled_at is None:
        return "no release yet: the champion is being read"
    return "no release yet: no champion was promoted; the daily run makes one"


def _find_unusual(live: LiveRelease, values: Sequence[float]) -> list[str]:
    return [
        f"{feature.field} {value:.9g} is outside the range that training saw, {seen.minimum:.9g} to {seen.maximum:.9g}"
        for feature, seen, value in zip(FEATURES, live.release.provenance.features, values, strict=True)
        if not seen.minimum <= value <= seen.maximum
    ]
