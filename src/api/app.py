"""The prediction service: ``uvicorn src.api.app:app``."""

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from src.api.champion import Champion, LiveRelease
from src.api.schemas import Health, Prediction, Problem, RefusedRelease, StoreHealth, Wine
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
    champion = app.state.champion = Champion(Bucket.from_environment(), settings.api_cache, settings.api_poll_seconds)
    telemetry = app.state.telemetry = Telemetry()
    telemetry.follow(champion)
    champion.restore()
    with champion.watched():
        yield


app = FastAPI(title="Wine quality", description=DESCRIPTION, version="1", lifespan=lifespan)


def live_release(request: Request) -> LiveRelease:
    """Return the release to answer this request from, whole.

    Raises:
        HTTPException: 503 while there is none.

    """
    live = request.app.state.champion.live
    if live is None:
        raise HTTPException(503, _why_not_ready(request.app.state.champion))
    return live


Live = Annotated[LiveRelease, Depends(live_release)]
PROBLEMS: dict[int | str, dict[str, Any]] = {422: {"model": Problem}, 503: {"model": Problem}}


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
async def readiness(live: Live) -> dict[str, str]:
    """Say whether a verified release is loaded."""
    return {"status": "ready", "release": live.id}


@app.get("/healthcheck", responses={503: {"model": Health}})
async def healthcheck(request: Request, response: Response) -> Health:
    """Show the service's parts; 503 when it cannot predict."""
    champion: Champion = request.app.state.champion
    live, watch = champion.live, champion.watch
    degraded = watch.store_error or watch.refusal or watch.cache_error
    if live is None:
        response.status_code = 503
    return Health(
        status="down" if live is None else "degraded" if degraded else "ok",
        release=live.id if live else None,
        store=StoreHealth(
            reachable=watch.looked_at is not None and watch.store_error is None,
            seconds_since_last_look=None if watch.age is None else round(watch.age, 1),
            error=watch.store_error,
        ),
        cache_error=watch.cache_error,
        refused=RefusedRelease(**asdict(watch.refusal)) if watch.refusal else None,
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


@app.exception_handler(RequestValidationError)
async def refuse_input(request: Request, error: RequestValidationError) -> Response:
    """Answer 422 and name each wrong field."""
    if "json" not in request.headers.get("content-type", ""):
        return _problem(422, "send the features as JSON, with the header: content-type: application/json")
    errors = [_describe(fault) for fault in error.errors()]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in errors)
    return _problem(422, detail, errors)


@app.exception_handler(HTTPException)
async def refuse(_: Request, error: HTTPException) -> Response:
    """Answer any other refusal in the same form."""
    return _problem(error.status_code, error.detail, headers=error.headers)


@app.exception_handler(Exception)
async def fail(_: Request, __: Exception) -> Response:
    """Answer 500 without a stack trace, which is in the log."""
    return _problem(500, "the service failed to answer; its log says why")


def _why_not_ready(champion: Champion) -> str:
    watch = champion.watch
    if watch.refusal:
        return f"release {watch.refusal.release} is refused: {watch.refusal.reason}"
    if watch.store_error:
        return f"no release yet: {watch.store_error}"
    if watch.looked_at is None:
        return "no release yet: looking for the champion"
    return "no release yet: no champion was promoted; the daily run makes one"


def _find_unusual(live: LiveRelease, values: Sequence[float]) -> list[str]:
    return [
        f"{feature.field} {value:.9g} is outside the range that training saw, {seen.minimum:.9g} to {seen.maximum:.9g}"
        for feature, seen, value in zip(FEATURES, live.release.provenance.features, values, strict=True)
        if not seen.minimum <= value <= seen.maximum
    ]


def _describe(fault: dict[str, Any]) -> dict[str, str]:
    path = () if fault["type"] == "json_invalid" else fault["loc"][1:]
    described = {"field": ".".join(map(str, path)) or "body", "message": fault["msg"]}
    value = fault.get("input")
    if isinstance(value, str | int) or (isinstance(value, float) and not math.isfinite(value)):
        described["value"] = str(value)[:100]
    elif isinstance(value, float):
        described["value"] = repr(value)
    return {key: _printable(text) for key, text in described.items()}


def _printable(text: str) -> str:
    """Return ``text`` without the lone surrogates that JSON can spell and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def _problem(status: int, detail: str, errors: Sequence[dict[str, str]] = (), headers: Any = None) -> Response:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
    return JSONResponse(problem.model_dump(), status, headers, media_type="application/problem+json")
