"""What went wrong, told as problem+json (RFC 9457): never a stack trace, never longer than a person reads."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from src.api.schemas import MOST_FAULTS, UNTOLD, Problem

MEDIA_TYPE = "application/problem+json"
LONGEST = 100  # characters of what the client sent; more would send back as much as came


def problem(
    status: int, detail: str, errors: Sequence[dict[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that says what went wrong."""
    content = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
    return JSONResponse(content.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


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


async def _reject(_: Request, error: HTTPException) -> Response:
    """Answer any other rejection in the same form."""
    return problem(error.status_code, error.detail, headers=error.headers)


async def _fail(_: Request, __: Exception) -> Response:
    """Answer 500; the stack trace is in the log."""
    return problem(500, "the service failed to answer; its log says why")


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
