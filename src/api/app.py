"""The prediction service: ``uvicorn src.api.app:app``."""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from src import __version__
from src.api import (
    activity,
    batch,
    evaluation,
    experiments,
    explain,
    history,
    labels,
    monitoring,
    predict,
    profile,
    routes,
    v2,
)
from src.api.champion import Champion
from src.api.document import complete_document
from src.api.keys import Keys, RequireKey
from src.api.last_hour import LastHour
from src.api.limits import BodyLimit, Limits
from src.api.prediction_log import PROCESS, PredictionLog
from src.api.problems import tell_problems
from src.api.requests import Cors, Requests
from src.api.spool import Spool
from src.api.telemetry import Telemetry
from src.core.signature import trust
from src.core.wine import FEATURES, NAME, TARGET, TITLE
from src.settings import ApiSettings, load_environment, read_settings, read_trusted_keys
from src.storage.reader import Reader

DESCRIPTION = f"Predicts the {TARGET} of one {NAME} from {len(FEATURES)} features, by the current champion."

SWITCH_SECONDS = 0.0005  # that requests wait while the champion is polled or loaded; Python lets them wait 0.005


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Serve the last good release from disk at once, and follow the champion until shutdown."""
    load_environment()
    settings = read_settings(ApiSettings)
    app.state.is_leaving = False
    app.state.keys = Keys([key.get_secret_value() for key in settings.api_keys])
    app.state.origins = settings.api_cors_origins
    app.state.limits = Limits(settings.api_max_body_bytes, settings.api_request_seconds, settings.api_max_batch_bytes)
    champion = app.state.champion = Champion(
        Reader.from_environment, settings.api_cache, settings.api_poll_seconds, trust(read_trusted_keys())
    )
    counters = getattr(app.state, "counters", None)
    telemetry = app.state.telemetry = Telemetry(champion, counters)
    hour = app.state.last_hour = LastHour(telemetry.total, counters)
    spool = Spool(
        settings.api_cache / "predictions", PROCESS, settings.prediction_log_max_mb * 2**20, telemetry.count_dropped
    )
    log = app.state.log = telemetry.log = PredictionLog(
        Reader.from_environment, spool, settings.prediction_log_share, telemetry.count_dropped
    )
    champion.restore()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection looks at it again while requests wait
    with log.running(settings.api_stop_seconds), champion.polling():
        async with hour.watching():
            yield


app = FastAPIOffline(  # Swagger UI comes from the package: a browser at /docs asks no other host
    title=TITLE, description=DESCRIPTION, version=__version__, lifespan=lifespan, redoc_url=None
)
app.add_middleware(BodyLimit)
app.add_middleware(RequireKey)
app.add_middleware(Requests)
app.add_middleware(Cors)
app.include_router(v2.router)  # first, as the router looks in this order
ANSWERS = (predict, batch, explain, labels)
ABOUT = (routes, profile, evaluation, history, experiments, monitoring, activity)
for router in (*(module.router for module in (*ANSWERS, *ABOUT)), routes.probes):
    app.include_router(router)
tell_problems(app)
complete_document(app)
