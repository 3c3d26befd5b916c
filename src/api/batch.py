"""``POST /predict/batch``: many rows, as JSON at once, or as CSV or Arrow without an end, answered in kind."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import numpy as np
import orjson
from fastapi import APIRouter, Body, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from src.api import csv_rows, rows
from src.api.bodies import Raw, read_whole
from src.api.champion import LiveRelease
from src.api.limits import CLOSE, Limits
from src.api.prediction_log import HEADER
from src.api.routes import live_release
from src.api.schemas import ID, MOST_FAULTS, PREDICTION_ID, PROBABILITIES, Problem, Wine
from src.core.prediction_record import ANSWER
from src.core.table import describe_classes
from src.core.wine import CLASSES, EXAMPLE, FEATURES, NAME

log = logging.getLogger("uvicorn.error")
FIELDS = [feature.field for feature in FEATURES]
JSON = "application/json"


class Reader(Protocol):
    """Finds rows in the parts of a body."""

    def read(self, part: bytes) -> Iterator[np.ndarray]:
        """Yield what is complete."""

    def end(self) -> Iterator[np.ndarray]:
        """Yield the rest."""


class Writer(Protocol):
    """Writes predictions in the form that the rows came in."""

    content_type: str

    def start(self) -> bytes:
        """Return what stands before the first row."""

    def write(self, labels: np.ndarray, probabilities: np.ndarray) -> bytes:
        """Return rows."""

    def end(self) -> bytes:
        """Return what stands after the last row."""

    def fail(self, message: str) -> bytes:
        """Return what says that there will be no more."""


FORMS = (csv_rows.CONTENT_TYPE, rows.ARROW)
_Row: Any = msgspec.defstruct("_Row", [(field, float) for field in FIELDS], forbid_unknown_fields=True, gc=False)
_decode = msgspec.json.Decoder(list[_Row]).decode
_values_of = attrgetter(*FIELDS)


class BatchPrediction(BaseModel):
    """Predictions in the order of the rows, and the release that they come from."""

    model_config = ConfigDict(validate_by_name=True)

    id: str = Field(description="Names this answer; its rows are named `<id>-0`, `<id>-1` …", examples=[PREDICTION_ID])
    release: str = Field(description="Id of the release that answered", examples=[ID])
    classes: list[int] = Field(description="What the columns of the probabilities stand for", examples=[list(CLASSES)])
    predicted: list[int] = Field(
        alias=ANSWER, description=f"The most probable class, {describe_classes(CLASSES)}", examples=[[CLASSES[0]]]
    )
    probabilities: list[list[float]] = Field(
        description="One list a row: the probability of each class", examples=[[list(PROBABILITIES.values())]]
    )
    warnings: list[str] = Field(description="Features outside what training saw, and in how many rows", examples=[[]])


PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (408, 413, 415, 422, 503)}
STREAM: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_writer = csv_rows.CsvWriter(CLASSES)
_asked = f"{','.join(EXAMPLE)}\n{','.join(map(str, EXAMPLE.values()))}\n"
_told = _writer.start() + _writer.write(np.array(CLASSES[:1]), np.array([[*PROBABILITIES.values()]]))


def _describe(example: str) -> dict[str, Any]:
    """Return the forms of a stream, of which CSV is one that a person reads."""
    return {
        "content": {form: STREAM | ({"example": example} if form == csv_rows.CONTENT_TYPE else {}) for form in FORMS}
    }


router = APIRouter(route_class=Raw, tags=["Predict"])


@router.post(
    "/predict/batch",
    response_model=BatchPrediction,
    responses={200: _describe(_told.decode()), **PROBLEMS},
    openapi_extra={"requestBody": {**_describe(_asked), "required": True}},
    description=f"Predict many rows, each one {NAME}: JSON as a whole, CSV and Arrow streams row by row.",
)
async def predict_batch(request: Request, documented: list[Wine] = Body(None)) -> Response:
    """Predict many rows."""
    live = live_release(request)
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if form == JSON:
        return await _answer_json(request, live)
    if form not in FORMS:
        raise HTTPException(415, f"the body is {form[:50]!r}, expected {' or '.join((JSON, *FORMS))}")
    limits: Limits = request.app.state.limits
    return _Stream(request, live, *_open(form, limits.batch_bytes, live.release.provenance.classes))


def _open(form: str, most: int, classes: Sequence[int]) -> tuple[Reader, Writer]:
    if form == csv_rows.CONTENT_TYPE:
        return csv_rows.CsvReader(most), csv_rows.CsvWriter(classes)
    from src.api.arrow_rows import ArrowReader, ArrowWriter  # nanoarrow takes 3 MB, and waits until it is asked for

    return ArrowReader(most), ArrowWriter(classes)


async def _answer_json(request: Request, live: LiveRelease) -> Response:
    values = _read_json(await read_whole(request))
    with request.app.state.log.batch() as batch:
        labels, probabilities = await rows.predict(request, live, values, batch)
    answer = {
        "id": batch.id,
        "release": live.id,
        "classes": live.release.provenance.classes,
        ANSWER: labels,
        "probabilities": probabilities,
        "warnings": _find_unusual(live, values),
    }
    content = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, headers={HEADER: batch.id}, media_type=JSON)


def _read_json(body: bytes) -> np.ndarray:
    """Return the values of an array of rows.

    Raises:
        RequestValidationError: what ``/predict`` would say of each, with its place in the array, ten at most.

    """
    try:
        table = _decode(body)
    except ValueError:  # msgspec's too; it says less of what is wrong than pydantic
        return _read_slowly(body)
    flat = chain.from_iterable(map(_values_of, table))
    values = rows.to_float32(np.fromiter(flat, float, len(table) * len(FIELDS)).reshape(-1, len(FIELDS)))
    return _read_slowly(body) if not table or rows.list_faults(values) else values


def _read_slowly(body: bytes) -> np.ndarray:
    try:
        table = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _reject("json_invalid", f"JSON decode error: {error}") from error
    if not isinstance(table, list) or not table:
        raise _reject("list_type", "Input should be an array of one row or more")
    faults: list[Any] = []
    values = []
    for place, row in enumerate(table):
        try:
            wine = Wine.model_validate(row)
            values.append([getattr(wine, field) for field in FIELDS])
        except ValidationError as error:
            told = error.errors(include_url=False)
            faults += [{**fault, "loc": ("body", place, *fault["loc"])} for fault in told]
            if len(faults) >= MOST_FAULTS:
                break
    if faults:
        raise RequestValidationError(faults)
    return rows.to_float32(np.array(values))


def _reject(kind: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("body",), "msg": message, "input": None}])


def _find_unusual(live: LiveRelease, values: np.ndarray) -> list[str]:
    seen = live.release.provenance.features
    low, high = (np.array([getattr(one, end) for one in seen], np.float32) for end in ("minimum", "maximum"))
    outside = ((values < low) | (values > high)).sum(axis=0).tolist()
    return [
        f"{field} is outside the range that training saw, {one.minimum:.9g} to {one.maximum:.9g}, in {count:,} row(s)"
        for field, one, count in zip(FIELDS, seen, outside, strict=True)
        if count
    ]


class _Stream(Response):
    """An answer that begins before the body has ended.

    A fault before the first row is an ordinary problem. After that the client has a 200 already: the rows before the
    fault are answered, CSV says in a last line what is wrong, and the connection is cut before the answer's end.
    """

    def __init__(self, request: Request, live: LiveRelease, reader: Reader, writer: Writer) -> None:
        self._request, self._live = request, live
        self._reader, self._writer = reader, writer
        self._is_begun, self._rows = False, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._request.app.state.log.batch() as self._batch:
            await self._answer(send)

    async def _answer(self, send: Send) -> None:
        parts = self._request.stream()
        try:
            async for part in parts:
                await self._predict(self._reader.read(part), send)
            await self._predict(self._reader.end(), send)
            await self._begin(send)
            await send(_part(self._writer.end(), is_last=True))
        except (rows.RowError, HTTPException) as error:
            told = error if isinstance(error, HTTPException) else HTTPException(422, str(error), CLOSE)
            if not self._is_begun:
                raise told from error
            is_row = isinstance(error, rows.RowError)
            why = "what follows is rejected" if is_row else told.detail  # the log has no values
            log.warning("a stream is cut after %s rows: %s", f"{self._rows:,}", why)
            await send(_part(self._writer.fail(told.detail)))
            with suppress(HTTPException):
                async for _ in parts:  # a connection closed on unread bytes takes the last of the answer with it
                    pass

    async def _predict(self, blocks: Iterator[np.ndarray], send: Send) -> None:
        for values in blocks:
            labels, probabilities = await rows.predict(self._request, self._live, values, self._batch)
            await self._begin(send)
            await send(_part(self._writer.write(labels, probabilities)))
            self._rows += len(values)

    async def _begin(self, send: Send) -> None:
        if not self._is_begun:
            self._is_begun = True
            headers = [(b"content-type", self._writer.content_type.encode()), (b"x-release", self._live.id.encode())]
            headers.append((HEADER.encode(), self._batch.id.encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send(_part(self._writer.start()))


def _part(content: bytes, is_last: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": not is_last}
