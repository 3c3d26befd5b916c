"""What went wrong, told as problem+json (RFC 9457): never a stack trace, never longer than a person reads."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from src.api.logs import ID, REQUEST_ID
from src.api.schemas import MOST_FAULTS, UNTOLD, Problem

MEDIA_TYPE = "application/problem+json"
LONGEST = 100  # characters of what the client sent; more would send back as much as came


def problem(
    status: int, detail: str, errors: Sequence[dict[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that says what went wrong."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
    return JSONResponse(content.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def tell(path: str, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return what went wrong in the form of what was asked for: that of the V2 protocol, or a problem."""
    if path.startswith("/v2"):
        return JSONResponse({"error": detail}, status, headers)
    return problem(status, detail, headers=headers)


def tell_problems(app: FastAPI) -> None:
    """Answer every rejection and failure of ``app`` in this form."""
    app.exception_handler(RequestValidationError)(_reject_input)
    app.exception_handler(HTTPException)(_reject)
    app.exception_handler(Exception)(_fail)


async def _reject_input(request: Request, error: RequestValidationError) -> Response:
    """Answer 422 and name the wrong fields, ten at most."""
    is_body = any(fault["loc"][0] == "body" for fault in error.errors())
    if is_body and "json" not in request.headers.get("content-type", ""):
        return problem(422, "send the features as JSON, with the header: content-type: application/json")
    faults = [fault for fault in error.errors() if fault["type"] != UNTOLD]
    untold = sum(fault["ctx"]["count"] for fault in error.errors() if fault["type"] == UNTOLD)
    errors = [_describe(fault) for fault in faults[:MOST_FAULTS]]
    told = "; ".join(f"{fault['field']}: {fault['message']}" for fault in errors)
    more = len(faults) - len(errors) + untold
    return problem(422, f"{told}; … and {more:,} more" if more else told, errors)


async def _reject(request: Request, error: HTTPException) -> Response:
    """Answer any other rejection."""
    return tell(request.url.path, error.status_code, error.detail, error.headers)


async def _fail(request: Request, _: Exception) -> Response:
    """Answer 500; the stack trace is in the log, beside the id of the request."""
    headers = {ID: REQUEST_ID.get() or ""}  # this answer passes by what names the others
    return tell(request.url.path, 500, "the service failed to answer; its log says why", headers)


def _describe(fault: dict[str, Any]) -> dict[str, str]:
    path = () if fault["type"] == "json_invalid" else fault["loc"][1:]
    described = {"field": ".".join(map(str, path))[:LONGEST] or "body", "message": fault["msg"]}
    value = fault.get("input")
    if isinstance(value, str | int) or (isinstance(value, float) and not math.isfinite(value)):
        described["value"] = str(value)[:LONGEST]
    elif isinstance(value, float):
        described["value"] = repr(value)
    return {key: _printable(text) for key, text in described.items()}


def _printable(text: str) -> str:
    """Return ``text`` without the lone surrogates that JSON can spell and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode()
