"""A trial of the search as journal and bucket keep it, one line of JSON, and where the bucket keeps a search."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from src.core.formats import Stored

FOLDER = "experiments/"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
MAX_BYTES = 8 * 2**20  # of a search; a trial has 1 KiB


class TrialRecord(Stored):
    """A trial's parameters and figures; ``fingerprint`` names the data and the rule that these belong to."""

    fingerprint: str
    task: str = Field(description="Its name, as in ClearML")
    model: str
    parameters: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]] = Field(description="By part: cv (cross-validation), train, test")
    confusion: tuple[tuple[int, ...], ...] = Field(description="Test rows by true class, then by predicted class")
    seconds: float
    error: str | None
    link: str | None = Field(None, description="Its page in ClearML, where there is an account")

    def to_line(self) -> bytes:
        """Return one line of JSON."""
        return f"{json.dumps(self.model_dump(mode='json'))}\n".encode()


def name_search(ended: datetime) -> str:
    """Return where the bucket keeps the search that ended then."""
    return f"{FOLDER}{ended.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}.jsonl"


def find_time(key: str) -> str | None:
    """Return when the search ended that an object of the bucket is; None where it is none."""
    found = re.fullmatch(rf"{FOLDER}({TIME})\.jsonl", key)
    return found[1] if found else None


def write_search(records: Iterable[TrialRecord]) -> bytes:
    """Return what the bucket keeps of a search."""
    return b"".join(record.to_line() for record in records)


def read_search(content: bytes, where: str) -> list[TrialRecord]:
    """Read what :func:`write_search` wrote.

    Raises:
        FormatError: newer code wrote it.
        IntegrityError: it is something else.

    """
    return [TrialRecord.read_json(line, f"{where}: line {n}") for n, line in enumerate(content.splitlines(), 1)]
