"""The schema of requests and replies."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic_core import PydanticCustomError

from src import __version__
from src.config import MODEL, PARAMETERS, SPLIT
from src.core.prediction_record import ANSWER
from src.core.table import Feature, describe_classes
from src.core.wine import CLASSES, EXAMPLE, FEATURES, NAME, TARGET, TITLE

MOST_FAULTS = 10  # what a person reads; a body may hold many more, and each costs time and memory to tell
UNTOLD = "untold_faults"
ID = "f937ab93903c"  # of the release in examples
PREDICTION_ID = "18eb2d7b760a723d1e6940df"  # of the prediction there


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
    """Accept what the table accepts; what training never saw is answered with a warning."""
    limits = Field(strict=True, ge=feature.lowest, le=feature.highest, allow_inf_nan=False, description=feature.label)
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


PROBABILITIES = dict(zip(map(str, CLASSES), (0.9, *[0.1 / (len(CLASSES) - 1)] * len(CLASSES)), strict=False))


class Prediction(BaseModel):
    """The predicted class, and which release says so."""

    model_config = ConfigDict(validate_by_name=True)

    id: str = Field(description="Names this answer; later ones are greater", examples=[PREDICTION_ID])
    predicted: int = Field(
        alias=ANSWER, description=f"The most probable class, {describe_classes(CLASSES)}", examples=[CLASSES[0]]
    )
    probabilities: dict[str, float] = Field(description="Probability of each class", examples=[PROBABILITIES])
    release: str = Field(description="Id of the release that answered", examples=[ID])
    warnings: list[str] = Field(description="Features outside what training saw", examples=[[]])


class StoreHealth(BaseModel):
    """What the last poll of the bucket found."""

    reachable: bool = Field(examples=[True])
    seconds_since_last_poll: float | None = Field(description="None before the first poll has ended", examples=[1.2])
    error: str | None = Field(examples=[None])


class RejectedRelease(BaseModel):
    """A champion that was not loaded because it is not complete."""

    release: str | None
    reason: str


class LogHealth(BaseModel):
    """The prediction log of this machine."""

    pending_bytes: int = Field(description="Not in the bucket yet", examples=[0])
    seconds_since_last_sent: float | None = Field(description="None where nothing was sent yet", examples=[12.3])
    dropped: int = Field(description="Predictions that are missing in it since the start", examples=[0])
    error: str | None = Field(description="Why predictions are not written, or not sent", examples=[None])


class Health(BaseModel):
    """The parts of the service."""

    status: Literal["ok", "degraded", "down"] = Field(description="degraded: serving, but something is wrong")
    release: str | None = Field(examples=[ID])
    store: StoreHealth
    rejected: RejectedRelease | None = Field(examples=[None])
    cache_error: str | None = Field(
        description="Why the release could not be kept on disk for the next start", examples=[None]
    )
    predictions: LogHealth


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """A verified release is loaded, and new requests are welcome."""

    status: Literal["ready"] = "ready"
    release: str = Field(description="Id of the release that serves", examples=[ID])


_first = FEATURES[0]
_out = {"md5": "d41d8cd98f00b204e9800998ecf8427e", "size": 84199, "path": "data"}


class KnownFeature(BaseModel):
    """A feature: how it is spelt, what the table accepts, and what training saw."""

    name: str = Field(description="As the table spells it", examples=[_first.name])
    field: str = Field(description="As requests spell it", examples=[_first.field])
    label: str = Field(description="For people: the name with its unit", examples=[_first.label])
    unit: str = Field(description="Empty where it has none", examples=[_first.unit])
    lowest: float = Field(description="The least value that the table accepts", examples=[_first.lowest])
    highest: float = Field(description="The greatest", examples=[_first.highest])
    minimum: float = Field(description="The least value that training saw", examples=[_first.lowest])
    median: float = Field(examples=[EXAMPLE[_first.field]])
    maximum: float = Field(description="The greatest that training saw", examples=[_first.highest])


class Metrics(BaseModel):
    """Metrics on the rows that the release was trained on, and on those held out; recall of each class among these."""

    train: dict[str, float] = Field(examples=[{"Accuracy": 0.61}])
    test: dict[str, float] = Field(examples=[{"Accuracy": 0.59}])
    recall: dict[str, float] = Field(
        description="Empty in releases of older code", examples=[dict.fromkeys(PROBABILITIES, 0.6)]
    )


class ReleaseDescription(BaseModel):
    """What serves: what its bytes were made of, its metrics, and who made and promoted it."""

    id: str = Field(examples=[ID])
    title: str = Field(description="What the predictions are about, for people", examples=[TITLE])
    name: str = Field(description="What one row is", examples=[NAME])
    version: str = Field(description="Of the service's code", examples=[__version__])
    pointer: dict[str, Any] = Field(description="The release as DVC knows it: md5, size, path", examples=[_out])
    metrics: Metrics
    model: str = Field(description="Name of the candidate", examples=[MODEL])
    parameters: dict[str, Any] = Field(examples=[dict(PARAMETERS)])
    split: dict[str, Any] = Field(
        description="The rule that decided which rows are held out", examples=[{"test_share": SPLIT.test_share}]
    )
    data: dict[str, Any] = Field(description="The table, as DVC knows it", examples=[_out])
    train: dict[str, Any] = Field(description="The rows that it was trained on, as DVC knows them", examples=[_out])
    test: dict[str, Any] = Field(description="The rows that were held out", examples=[_out])
    features: list[KnownFeature]
    classes: list[int] = Field(examples=[list(CLASSES)])
    libraries: dict[str, str] = Field(description="Versions of what trained it", examples=[{"scikit-learn": "1.8.0"}])
    target: str = Field(description="What is predicted", examples=[TARGET])
    meta: dict[str, Any] = Field(
        description="What is not content: run, commit, times, and the promotion's decision",
        examples=[{"promotion": {"kind": "promotion", "reason": "first champion"}}],
    )


class Fault(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str
    value: str | None = None


class Problem(BaseModel):
    """What went wrong, after RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] = Field(default=[], description="One entry for each wrong field, ten at most")
