"""A promotion: one change of champion, as the registry records it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, TypeAdapter, field_validator

from src.core.formats import Stored

PROMOTE, ROLLBACK = "promote", "rollback"
_TIME = TypeAdapter(AwareDatetime)


class Promotion(Stored):
    """``release`` replaced ``replaced`` (None for the first); ``metrics`` are on the test rows, by contender."""

    time: str
    kind: Literal["promote", "rollback"]
    release: str
    replaced: str | None
    reason: str
    by: str
    metrics: Mapping[str, Mapping[str, float]]

    @field_validator("time")
    @classmethod
    def is_time(cls, text: str) -> str:
        """Accept ISO times with a zone, which leave room for a later one."""
        _TIME.validate_python(text)
        try:
            datetime.fromisoformat(text) + timedelta(days=1)
        except OverflowError as error:
            raise ValueError(f"there is no day after {text}") from error
        return text

    @property
    def key(self) -> str:
        """Return the object's name in the log of promotions, which sorts by time."""
        return f"{self.time}.json"


def next_time(last: Promotion | None) -> str:
    """Return the time of a change after ``last``: now, or a moment later where hosts' clocks differ."""
    now = datetime.now(UTC)
    if last:
        now = max(now, datetime.fromisoformat(last.time) + timedelta(microseconds=1))
    return now.isoformat(timespec="microseconds")
