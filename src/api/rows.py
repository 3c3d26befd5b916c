"""Many rows at once: whether ``/predict`` would take each, and their predictions, in slices that let others answer."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from fastapi import Request

from src.api.champion import LiveRelease
from src.api.prediction_log import Batch
from src.api.schemas import MOST_FAULTS, Wine
from src.core.wine import FEATURES, TARGET

ARROW = "application/vnd.apache.arrow.stream"
SLICE = 1024  # rows: they stay in the processor's cache, and no health probe waits for long

_limits = [Wine.model_json_schema()["properties"][feature.field] for feature in FEATURES]
# Whole slices of limits are compared with values of one layout, five times as fast as one row of limits.
LOWEST = np.tile(np.array([one["minimum"] for one in _limits], np.float32), (SLICE, 1))
HIGHEST = np.tile(np.array([one["maximum"] for one in _limits], np.float32), (SLICE, 1))
COLUMNS = {name: column for column, one in enumerate(FEATURES) for name in (one.name, one.field)}


class RowError(ValueError):
    """Rows that are not of the table."""


def to_float32(values: np.ndarray) -> np.ndarray:
    """Return a copy of ``values`` as the model takes them; what is too large for it becomes infinite."""
    if values.dtype == np.float32:
        return values.copy()  # those in the middle of a body start at any byte
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def list_faults(values: np.ndarray) -> list[tuple[int, str, str]]:
    """Return row, field and message of what ``/predict`` would reject in values (rows, features), ten at most."""
    faults: list[tuple[int, str, str]] = []
    for start, part in _slice(values):
        good = np.greater_equal(part, LOWEST[: len(part)])
        good &= part <= HIGHEST[: len(part)]
        if np.count_nonzero(good) < good.size:
            faults += [_describe(start, part, row, column) for row, column in np.argwhere(~good)[:MOST_FAULTS].tolist()]
            if len(faults) >= MOST_FAULTS:
                break
    return faults[:MOST_FAULTS]


def find_columns(names: Sequence[str]) -> list[int]:
    """Return where each feature stands among a table's columns, of which the target may be one.

    Raises:
        RowError: names the columns that are unknown, missing or there twice.

    """
    columns = [COLUMNS.get(name) for name in names]
    unknown = [name for name, column in zip(names, columns, strict=True) if column is None and name != TARGET]
    faults = [f"column {name[:50]!r} is unknown" for name in unknown[:MOST_FAULTS]]
    for column, feature in enumerate(FEATURES):
        if columns.count(column) != 1:
            faults.append(f"column {feature.field!r} is {'there twice' if column in columns else 'missing'}")
    if faults:
        raise RowError("; ".join(faults[:MOST_FAULTS]))
    return [columns.index(column) for column in range(len(FEATURES))]


async def predict(
    request: Request, live: LiveRelease, values: np.ndarray, batch: Batch
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (rows,) and probabilities (rows, classes), by one release whatever is promoted meanwhile."""
    labels, probabilities = live.release.model.predict(values[:SLICE])
    if len(values) > SLICE:
        answers = [(labels, probabilities)]
        for _, part in _slice(values[SLICE:]):
            await asyncio.sleep(0)
            answers.append(live.release.model.predict(part))
        labels, probabilities = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    request.app.state.telemetry.count(live, labels, values)
    batch.add(live, request.scope["route"].path, values, (labels, probabilities))
    return labels, probabilities


def _slice(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(values), SLICE):
        yield start, values[start : start + SLICE]


def _describe(start: int, part: np.ndarray, row: int, column: int) -> tuple[int, str, str]:
    expected = f"expected {LOWEST[0, column]:.7g} to {HIGHEST[0, column]:.7g}"
    return start + row, FEATURES[column].field, f"{part[row, column]:.7g}, {expected}"
