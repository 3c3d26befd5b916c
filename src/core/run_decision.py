"""What the last daily run decided, as the bucket keeps it and the API tells it, whether it promoted or not."""

from collections.abc import Mapping

from pydantic import AwareDatetime, Field

from src.core.formats import Stored

KEY = "monitoring/decision.json"
MAX_BYTES = 2**20  # it has 2 KiB


class RunDecision(Stored):
    """The challenger of a run beside the champion of that moment (None before the first)."""

    time: AwareDatetime
    run: str = Field(description="The run's id")
    promote: bool = Field(description="Whether the challenger was to become the champion")
    reason: str = Field(description="Why, in words")
    release: str = Field(description="The challenger")
    champion: str | None
    metrics: Mapping[str, Mapping[str, float]] = Field(
        description="Of challenger and champion on the same test rows; low and high end of the likely differences; "
        "what the replay of logged traffic found"
    )
    looks: int = Field(description="How many releases these test rows have judged, this one included")
