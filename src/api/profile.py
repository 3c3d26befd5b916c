"""What the release that serves was made from: its features' quantiles, its rows' classes, and some held-out rows."""

import csv
import io
from functools import lru_cache
from random import choice
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from src.api.champion import LiveRelease
from src.api.routes import live_release
from src.api.schemas import ID, Problem
from src.config import Limits
from src.core.pointer import Pointer
from src.core.profile import Calibration
from src.core.wine import CLASSES, EXAMPLE, FEATURES, NAME, TARGET
from src.errors import StackError
from src.storage.bucket import read_files
from src.storage.reader import Reader

LIMITS = Limits(files=1, size=16 * 2**20)  # the wines have 80 KiB, and a service is small
MOST = 10_000  # rows among which examples are looked for
_counts = {str(label): 7 for label in CLASSES}


class Quantiles(BaseModel):
    """A feature's quantiles on train, at the middles of as many equal steps."""

    field: str = Field(examples=[FEATURES[0].field])
    quantiles: list[float] = Field(examples=[[EXAMPLE[FEATURES[0].field]]])


class ProfileDescription(BaseModel):
    """The release's profile: how its features lie on train, and how it answered for the rows held out."""

    release: str = Field(examples=[ID])
    rows: int = Field(description="Of train", examples=[sum(_counts.values())])
    features: list[Quantiles]
    test_rows: int = Field(examples=[sum(_counts.values())])
    predicted: dict[str, int] = Field(description="How many rows of test got each class", examples=[_counts])
    calibration: Calibration


class Classes(BaseModel):
    """How many rows of each class the release was trained on, and how many were held out."""

    release: str = Field(examples=[ID])
    train: dict[str, int] = Field(examples=[_counts])
    test: dict[str, int] = Field(examples=[_counts])


class Example(BaseModel):
    """A row to start from."""

    name: Literal["median", "best", "poor", "random"] = Field(
        description="median: of each feature, which is no real row; best and poor: of the highest and the lowest "
        "class, the one of which the release is surest; random: any"
    )
    row: int | None = Field(description="Its place among the rows held out, from 0; None of no real row", examples=[12])
    features: dict[str, float] = Field(examples=[EXAMPLE])
    truth: int | None = Field(description=f"Its {TARGET}, where it is known", examples=[CLASSES[0]])


class Examples(BaseModel):
    """Rows to start from."""

    release: str = Field(examples=[ID])
    examples: list[Example]


Live = Annotated[LiveRelease, Depends(live_release)]
router = APIRouter(tags=["About"], responses={503: {"model": Problem}})


@router.get("/profile", responses={404: {"model": Problem}})
async def profile(live: Live) -> ProfileDescription:
    """Show how each feature lies on train, and how the release answered for the rows held out."""
    if (found := live.release.profile) is None:
        raise HTTPException(404, f"release {live.id} is of older code, and has no profile")
    features = [
        Quantiles(field=feature.field, quantiles=list(one.quantiles))
        for feature, one in zip(FEATURES, found.features, strict=True)
    ]
    told = found.model_dump(include={"rows", "test_rows", "predicted", "calibration"})
    return ProfileDescription.model_validate({"release": live.id, "features": features, **told})


@router.get("/classes", description=f"Show how many {NAME} rows of each class train and test have.")
async def classes(live: Live) -> Classes:
    """Count the classes of the rows that the release was made from."""
    train, test = await run_in_threadpool(lambda: (read_rows(live, "train")[1], read_rows(live, "test")[1]))
    return Classes(release=live.id, train=_count(train), test=_count(test))


@router.get("/examples", description=f"Show some {NAME} rows to start from; one of them is another each time.")
async def examples(live: Live, response: Response) -> Examples:
    """Choose rows to start from."""
    response.headers["cache-control"] = "no-store"
    return Examples(release=live.id, examples=await run_in_threadpool(_choose, live))


def read_rows(live: LiveRelease, part: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Return features (rows, features) and classes (rows,) of what the release was trained on, or of what was held out.

    Raises:
        HTTPException: 503 where the bucket does not give them.

    """
    try:
        pointer = Pointer.from_out(getattr(live.release.provenance, part))
        table = _read_table(pointer.md5, pointer.path)
    except (StackError, KeyError, ValueError) as error:
        raise HTTPException(503, f"the rows of {part} cannot be read: {error}") from error
    return table[:, :-1], table[:, -1].astype(int)


@lru_cache(maxsize=2)
def _read_table(md5: str, path: str) -> np.ndarray:
    """Return a table of features and class (rows, features + 1), by the md5 of its bytes."""
    ((_, content),) = read_files(Reader.from_environment().get, Pointer(md5, path), LIMITS)
    header, *lines = csv.reader(io.StringIO(content.decode()))
    columns = [header.index(name) for name in (*(feature.name for feature in FEATURES), TARGET)]
    return np.array(lines, float)[:, columns]


def _count(found: np.ndarray) -> dict[str, int]:
    return {str(label): int((found == label).sum()) for label in CLASSES}


def _choose(live: LiveRelease) -> list[Example]:
    rows, truth = (part[:MOST] for part in read_rows(live, "test"))
    _, probabilities = live.release.model.predict(rows)
    sure = (probabilities * (truth[:, None] == live.release.provenance.classes)).sum(axis=1)
    chosen = {
        "best": int(np.lexsort((sure, truth))[-1]),
        "poor": int(np.lexsort((-sure, truth))[0]),
        "random": choice(range(len(rows))),
    }
    medians = {
        feature.field: one.median for feature, one in zip(FEATURES, live.release.provenance.features, strict=True)
    }
    median = Example(name="median", row=None, features=medians, truth=None)
    found: list[Any] = [
        {"name": name, "row": row, "features": dict(zip(medians, rows[row].tolist(), strict=True)), "truth": truth[row]}
        for name, row in chosen.items()
    ]
    return [median, *map(Example.model_validate, found)]
