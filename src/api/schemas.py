"""The wire: what a request and a reply look like."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from src.core.wine import EXAMPLE, FEATURES

# A litre holds less than 1,000,000 mg of anything; far larger numbers would overflow the model's float32.
Measurement = Annotated[float, Field(strict=True, ge=0, le=1_000_000, allow_inf_nan=False)]

_fields: dict[str, Any] = {
    feature.field: (Measurement, Field(description=feature.label)) for feature in FEATURES
}
Wine = create_model(
    "Wine",
    __config__=ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": EXAMPLE}),
    __doc__="One red wine: its 11 physico-chemical features.",
    **_fields,
)


class Prediction(BaseModel):
    """The quality of one wine, and which release says so."""

    predicted_quality: int = Field(description="The most probable class, 3 to 8")
    probabilities: dict[str, float] = Field(description="Probability of each class")
    release: str = Field(description="Id of the release that answered")
    warnings: list[str] = Field(description="Features outside what training saw")


class StoreHealth(BaseModel):
    """What the last look at the bucket found."""

    reachable: bool
    seconds_since_last_look: float | None = Field(description="None before the first look has ended")
    error: str | None


class RefusedRelease(BaseModel):
    """A champion that was not loaded because it is not whole."""

    release: str | None
    reason: str


class Health(BaseModel):
    """The parts of the service: "ok", "degraded" (serving, but something is wrong) or "down"."""

    status: str
    release: str | None
    store: StoreHealth
    refused: RefusedRelease | None
    cache_error: str | None = Field(description="Why the release could not be kept on disk for the next start")


class Problem(BaseModel):
    """What went wrong, after RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(default=[], description="One entry for each wrong field")
