"""One prediction as the log keeps it, and the label that a person gives it later: one line of JSON each."""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from src.core.table import spell
from src.core.wine import CLASSES, FEATURES, TARGET
from src.errors import FormatError, IntegrityError

NEWEST = 1
FIELDS = tuple(feature.field for feature in FEATURES)
ANSWER = f"predicted_{spell(TARGET)}"  # as an answer spells what a record calls predicted
ID = r"^[0-9a-f]{24}(-\d{1,9})?\Z"  # the nanosecond in which it was made, its process, and its row in a batch
TIME_DIGITS = 16  # of an id
PROCESS = slice(TIME_DIGITS, 24)  # of an id

PredictionId = Annotated[str, msgspec.Meta(pattern=ID)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered; ``values`` has each feature by its field, those of batches in single precision."""

    format: int = NEWEST
    time: str  # UTC, to the microsecond
    id: PredictionId
    request_id: str
    route: str
    release: str
    predicted: int
    values: dict[str, float]
    probabilities: dict[str, Share]  # by class


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What turned out true of a prediction; ``by`` says who told, a request's id or a person."""

    format: int = NEWEST
    time: str
    id: PredictionId
    label: int
    by: str


R = TypeVar("R", Prediction, Label)
_decoders: dict[type, msgspec.json.Decoder[Any]] = {kind: msgspec.json.Decoder(kind) for kind in (Prediction, Label)}
encode = msgspec.json.Encoder().encode


def read_line(kind: type[R], line: bytes) -> R:
    """Read one line of a log.

    Raises:
        FormatError: newer code wrote it.
        IntegrityError: it is not what this service would have written.

    """
    try:
        record: R = _decoders[kind].decode(line)
    except ValueError as error:  # msgspec's too
        _reject_newer(line)
        raise IntegrityError(str(error)) from error
    if record.format > NEWEST:
        _reject_newer(line)
    problem = _find_contradiction(record) if isinstance(record, Prediction) else _find_impossible(record.label)
    if problem:
        raise IntegrityError(problem)
    return record


def is_id(text: str) -> bool:
    """Say whether a text is spelled as an id."""
    return re.match(ID, text) is not None


def measure(values: Sequence[float]) -> tuple[float, ...]:
    """Return a wine's features as the model takes them, in single precision, by which a batch is logged, too.

    What is equal here is one wine, however its numbers were spelt.
    """
    return struct.unpack(f"{len(values)}f", struct.pack(f"{len(values)}f", *values))


def find_time(prediction: str) -> datetime:
    """Return when a prediction was made, from its id."""
    return datetime.fromtimestamp(int(prediction[:TIME_DIGITS], 16) // 1000 / 1e6, UTC)


def spell_time(nanoseconds: int) -> str:
    """Return a moment since 1970 as a record spells it."""
    return datetime.fromtimestamp(nanoseconds // 1000 / 1e6, UTC).isoformat(timespec="microseconds")


def sort_key(prediction: str) -> tuple[str, int]:
    """Return what orders the predictions of one process as they were made."""
    first, _, row = prediction.partition("-")
    return first, int(row or 0)


def _reject_newer(line: bytes) -> None:
    try:
        content = msgspec.json.decode(line)
    except ValueError:
        return
    number = content.get("format") if isinstance(content, Mapping) else None
    if isinstance(number, int) and number > NEWEST:
        raise FormatError("it", number, NEWEST)


def _find_contradiction(record: Prediction) -> str | None:
    if set(record.values) != set(FIELDS):
        return f"it has the features {', '.join(record.values)}, expected {', '.join(FIELDS)}"
    for feature in FEATURES:
        value = record.values[feature.field]
        if not feature.lowest <= value <= feature.highest:
            return f"{feature.field} {value:g} is impossible"
    shares = record.probabilities
    if str(record.predicted) not in shares or not math.isclose(sum(shares.values()), 1, abs_tol=1e-3):
        return f"the probabilities {shares} are none of a prediction of {record.predicted}"
    return next(filter(None, (_find_impossible(int(name)) for name in shares if name.isdecimal())), None)


def _find_impossible(label: int) -> str | None:
    return None if label in CLASSES else f"class {label} is impossible, expected one of {', '.join(map(str, CLASSES))}"
