"""What monitoring says of one day, as the bucket keeps it and the API tells it."""

import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from src.core.formats import Stored

FOLDER = "monitoring/"
DATE = r"\d{4}-\d\d-\d\d"
MAX_BYTES = 2**20  # of one day's figures; they have 10 KiB


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class FeatureDrift(_Part):
    """How far a feature's live values are from those of train; ``low`` to ``high`` is where the distance lies."""

    name: str
    stability_index: float = Field(description="Population stability index over train's tenths")
    distance: float = Field(description="Kolmogorov-Smirnov distance: the largest gap between the two distributions")
    low: float = Field(description="The lowest distance that the day's rows leave likely")
    high: float
    wasserstein: float = Field(description="Wasserstein distance, in standard deviations of train")
    p: float = Field(description="How often chance alone is that far, corrected for all tests of the day")
    drifted: bool


class MixDrift(_Part):
    """How far the mix of predicted classes is from that on the test rows; shares by class."""

    expected: Mapping[str, float]
    found: Mapping[str, float]
    chi_square: float
    distance: float = Field(description="The share of the rows that would have to change their class")
    p: float = Field(description="How often chance alone is that far, corrected for all tests of the day")
    drifted: bool


class Drift(_Part):
    """The day's rows beside those that the release was made from; copies of a row count once."""

    rows: int
    features: tuple[FeatureDrift, ...]
    mix: MixDrift

    @property
    def alarms(self) -> tuple[str, ...]:
        """Return the names of what drifted."""
        return (*(one.name for one in self.features if one.drifted), *(["predicted classes"] * self.mix.drifted))


class Estimate(_Part):
    """A figure, where it likely lies, and what it was on the test rows (None: nobody knows)."""

    value: float
    low: float
    high: float
    test: float | None


class Performance(_Part):
    """How good the release's answers are: ``expected`` of all by its probabilities, ``measured`` of labelled rows."""

    rows: int
    labelled: int
    expected_accuracy: Estimate | None = None
    measured: Mapping[str, Estimate] = {}


class Guarded(_Part):
    """What labels say of a champion beside the release it ``replaced``, on the same ``rows``."""

    champion: str
    replaced: str
    rows: int
    is_worse: bool = Field(description="Beyond chance")
    rolled_back: bool
    told: str = Field(description="In words")


class Unread(_Part):
    """What of the log could not be read: how much, and the first of it in words."""

    count: int = 0
    told: tuple[str, ...] = ()


class DayFigures(Stored):
    """One day (UTC) of live traffic. ``release`` answered most of it, and drift and performance are its own.

    ``notes`` say in words what could not be told, and why.
    """

    date: str = Field(pattern=rf"^{DATE}$")
    rows: int
    releases: Mapping[str, int] = Field(description="How many rows each release answered")
    release: str | None
    drift: Drift | None = None
    performance: Performance | None = None
    guard: Guarded | None = None
    notes: tuple[str, ...] = ()
    unread: Unread = Unread()

    @property
    def key(self) -> str:
        """Return where the bucket keeps it."""
        return name_figures(self.date)


def name_figures(date: str) -> str:
    """Return where the bucket keeps the figures of a day."""
    return f"{FOLDER}{date}.json"


def is_figures(key: str) -> bool:
    """Say whether an object of the bucket is the figures of a day."""
    return re.fullmatch(rf"{FOLDER}{DATE}\.json", key) is not None
