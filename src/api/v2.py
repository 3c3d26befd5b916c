"""The Open Inference Protocol, version 2, over HTTP, with the binary tensor extension.

Source: https://github.com/kserve/open-inference-protocol; https://github.com/triton-inference-server/server, for the
extension.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Body, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from src import __version__
from src.api import rows
from src.api.bodies import Raw, read_whole
from src.api.champion import LiveRelease
from src.api.prediction_log import HEADER
from src.api.reading import show
from src.api.routes import live_release
from src.api.schemas import ID, PROBABILITIES
from src.api.tensors import LENGTH, OUTPUTS, TensorError, read_inference, write_inference
from src.api.v2_schemas import (
    inference_error_response,
    inference_request,
    inference_response,
    metadata_model_response,
    metadata_server_response,
)
from src.core.table import spell
from src.core.wine import CLASSES, FEATURES, NAME, TITLE

MODEL = spell(NAME)
INPUT = "features"
PLATFORM = "onnxruntime_onnx"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": inference_error_response} for status in (400, 404, "4XX", 503)
}

PLACES: list[dict[str, Any]] = [
    {"name": name, "in": "path", "required": True, "schema": {"type": "string", "example": example}}
    for name, example in (("model_name", MODEL), ("model_version", ID))
]
ONE, ONE_VERSION = "/models/{model_name}", "/models/{model_name}/versions/{model_version}"


class _Told(Raw):
    """A tensor that is none is told as the protocol does."""

    async def answer(self, request: Request) -> Response:
        try:
            return await super().answer(request)
        except TensorError as error:
            return _json({"error": str(error)}, 400)


_PREDICTED = {
    "model_name": MODEL,
    "model_version": ID,
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [1], "data": [CLASSES[0]]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, len(CLASSES)], "data": list(PROBABILITIES.values())},
    ],
}
router = APIRouter(prefix="/v2", route_class=_Told, tags=["Open Inference Protocol"])


_infer: dict[str, Any] = {"response_model": inference_response, "responses": show(_PREDICTED) | ERRORS}


@router.post(f"{ONE_VERSION}/infer", openapi_extra={"parameters": PLACES}, **_infer)
@router.post(f"{ONE}/infer", openapi_extra={"parameters": PLACES[:1]}, **_infer)
async def infer(request: Request, documented: inference_request = Body(None)) -> Response:
    """Predict many rows."""
    live = _find(request)
    asked = read_inference(await read_whole(request), request.headers.get(LENGTH))
    if faults := rows.list_faults(asked.values):
        raise TensorError("; ".join(f"row {row}: {field}: {message}" for row, field, message in faults))
    with request.app.state.log.batch() as batch:
        labels, probabilities = await rows.predict(request, live, asked.values, batch)
    body, length = write_inference(MODEL, live.id, asked, {"label": labels, "probabilities": probabilities})
    if length is None:
        return Response(body, headers={HEADER: batch.id}, media_type="application/json")
    headers = {LENGTH: str(length), HEADER: batch.id}
    return Response(body, headers=headers, media_type="application/octet-stream")


_SERVER = {"name": TITLE, "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("", response_model=metadata_server_response, responses=show(_SERVER))
@router.get("/", include_in_schema=False)
async def server_metadata(request: Request) -> Response:
    """Say what this server is."""
    return _json(_SERVER)


@router.get("/health/live", responses=show({"live": True}))
async def server_live(request: Request) -> Response:
    """Say that the process answers."""
    return _json({"live": True})


@router.get("/health/ready", responses=show({"ready": True}) | {400: ERRORS[400]})
async def server_ready(request: Request) -> Response:
    """Say whether a verified release is loaded, and new requests are welcome."""
    if request.app.state.is_leaving:
        raise HTTPException(400, "the service is about to stop")
    try:
        live_release(request)
    except HTTPException as error:
        raise HTTPException(400, error.detail) from None  # the protocol knows 200 and 4xx
    return _json({"ready": True})


def _describe(release: str, classes: int) -> dict[str, Any]:
    """Return what a model takes and gives."""
    shapes = {"label": [-1], "probabilities": [-1, classes]}
    return {
        "name": MODEL,
        "versions": [release],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, len(FEATURES)]}],
        "outputs": [{"name": name, "datatype": kind, "shape": shapes[name]} for name, kind in OUTPUTS.items()],
    }


_model: dict[str, Any] = {"response_model": metadata_model_response}
_model["responses"] = show(_describe(ID, len(CLASSES))) | ERRORS


@router.get(ONE, openapi_extra={"parameters": PLACES[:1]}, **_model)
@router.get(ONE_VERSION, openapi_extra={"parameters": PLACES}, **_model)
async def model_metadata(request: Request) -> Response:
    """Say what the model takes and gives."""
    live = _find(request)
    return _json(_describe(live.id, len(live.release.provenance.classes)))


_READY = {"name": MODEL, "ready": True}


@router.get(f"{ONE}/ready", responses=show(_READY) | ERRORS, openapi_extra={"parameters": PLACES[:1]})
@router.get(f"{ONE_VERSION}/ready", responses=show(_READY) | ERRORS, openapi_extra={"parameters": PLACES})
async def model_ready(request: Request) -> Response:
    """Say whether the model can predict."""
    _find(request)
    return _json(_READY)


@router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def unknown(request: Request) -> Response:
    """Answer what is not of the protocol."""
    partial = [route for route in router.routes if route.matches(request.scope)[0] is Match.PARTIAL]
    allowed = {method for route in partial for method in getattr(route, "methods", ())}
    told = f"there is no {request.method} {request.url.path[:100]}"
    raise HTTPException(405, told, {"Allow": ", ".join(sorted(allowed))}) if allowed else HTTPException(404, told)


def _find(request: Request) -> LiveRelease:
    """Return the release that a path names.

    Raises:
        HTTPException: 404 where another serves, 503 while none does.

    """
    name, version = request.path_params["model_name"], request.path_params.get("model_version")
    if name != MODEL:
        raise HTTPException(404, f"model {name[:50]!r} is unknown, expected {MODEL!r}")
    live = live_release(request)
    if version not in (None, live.id):
        raise HTTPException(404, f"version {version[:50]!r} is not served; the release that is: {live.id}")
    return live


def _json(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, headers, "application/json")
