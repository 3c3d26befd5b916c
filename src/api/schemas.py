"""The schema of requests and replies."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError

from src.core.table import Feature, describe_classes, spell
from src.core.wine import CLASSES, EXAMPLE, FEATURES, NAME, TARGET

ANSWER = f"predicted_{spell(TARGET)}"
LARGEST = 1_000_000  # far larger numbers would overflow the model's float32
MOST_FAULTS = 10  # what a person reads; a body may hold many more, and each costs time and memory to tell
UNTOLD = "untold_faults"


def _bound_faults(cls: type[BaseModel], values: Any, validate: Any) -> Any:
    """Validate no more unknown keys than are told, so that a body of them is rejected as fast as it was parsed."""
    if not isinstance(values, dict) or len(values) <= len(FEATURES) + MOST_FAULTS:
        return validate(values)
    known = cls.model_fields.keys()
    unknown = [key for key in values if key not in known]
    try:
        return validate({key: values[key] for key in (*known, *unknown[:MOST_FAULTS]) if key in values})
    except ValidationError as error:
        rest = PydanticCustomError(UNTOLD, "and {count} more", {"count": len(unknown) - MOST_FAULTS})
        faults: list[Any] = [*error.errors(include_url=False), {"type": rest}]
        raise ValidationError.from_exception_data(error.title, faults) from None


def _measure(feature: Feature) -> Any:
    """Accept what the table would not, with a warning in the answer, but nothing negative where it has nothing so."""
    lowest, highest = min(0, feature.lowest), max(LARGEST, feature.highest)
    limits = Field(strict=True, ge=lowest, le=highest, allow_inf_nan=False, description=feature.label)
    return Annotated[float, limits], ...


_fields: dict[str, Any] = {feature.field: _measure(feature) for feature in FEATURES}
_validators: dict[str, Any] = {"bound_faults": model_validator(mode="wrap")(_bound_faults)}
Wine = create_model(
    NAME.title().replace(" ", ""),
    __config__=ConfigDict(extra="forbid", frozen=True, json_schema_extra={"example": EXAMPLE}),
    __doc__=f"One {NAME}: its {len(FEATURES)} features.",
    __validators__=_validators,
    **_fields,
)


class Prediction(BaseModel):
    """The predicted class, and which release says so."""

    model_config = ConfigDict(validate_by_name=True)

    predicted: int = Field(alias=ANSWER, description=f"The most probable class, {describe_classes(CLASSES)}")
    probabilities: dict[str, float] = Field(description="Probability of each class")
    release: str = Field(description="Id of the release that answered")
    warnings: list[str] = Field(description="Features outside what training saw")


class StoreHealth(BaseModel):
    """What the last poll of the bucket found."""

    reachable: bool
    seconds_since_last_poll: float | None = Field(description="None before the first poll has ended")
    error: str | None


class RejectedRelease(BaseModel):
    """A champion that was not loaded because it is not complete."""

    release: str | None
    reason: str


class Health(BaseModel):
    """The parts of the service: "ok", "degraded" (serving, but something is wrong) or "down"."""

    status: str
    release: str | None
    store: StoreHealth
    rejected: RejectedRelease | None
    cache_error: str | None = Field(description="Why the release could not be kept on disk for the next start")


class Problem(BaseModel):
    """What went wrong, after RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(default=[], description="One entry for each wrong field")
