"""What the bucket keeps carries the number of its format, so that code of any age knows whether it can read it."""

import json
import math
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.errors import FormatError, IntegrityError


class Stored(BaseModel):
    """One stored object; what has no number is of format 1, and names that its format does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    NEWEST: ClassVar[int] = 1
    format: int = Field(1, ge=1, strict=True)

    @classmethod
    def read(cls, content: Any, where: str) -> Self:
        """Read what :meth:`to_json` wrote, parsed already.

        Raises:
            FormatError: newer code wrote it.
            IntegrityError: it is something else; the message says that it came from ``where``.

        """
        number = content.get("format", 1) if isinstance(content, dict) else 1
        if isinstance(number, int) and number > cls.NEWEST:
            raise FormatError(where, number, cls.NEWEST)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            fault = error.errors()[0]
            name = ".".join(map(str, fault["loc"]))[:100]
            raise IntegrityError(f"{where} is broken: {name or 'it'}: {fault['msg'].lower()}") from error

    @classmethod
    def read_json(cls, content: bytes, where: str) -> Self:
        """Read JSON of which every reply can spell each value again; raises as :meth:`read` does."""
        try:
            parsed = json.loads(content, parse_constant=_finite, parse_float=_finite)
            json.dumps(parsed, ensure_ascii=False).encode()  # fails for halves of a character
        except (ValueError, RecursionError) as error:
            raise IntegrityError(f"{where} is not JSON: {error}") from error
        return cls.read(parsed, where)

    def to_json(self) -> bytes:
        """Return equal bytes for equal values."""
        content = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
        return f"{content}\n".encode()


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no number")
    return number
