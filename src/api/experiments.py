"""``GET /experiments``: the trials of a search, as ``python -m src.learn_models`` left them in the bucket."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from src.api.reading import WITH_NONE, read
from src.config import SEARCH_RULE
from src.core.experiment import FOLDER, MAX_BYTES, TIME, TrialRecord, find_time, read_search
from src.core.wine import CLASSES
from src.errors import MissingError
from src.storage.reader import Reader

MOST = 50  # searches that are named
_TIME = "2026-03-01T12:00:00Z"
_EXAMPLE = {
    "format": 1,
    "fingerprint": "8f14e45fceea",
    "task": "LR_31",
    "model": "LogisticRegression",
    "parameters": {"C": 10.0, "class_weight": None},
    "scores": {
        "cv": {"Accuracy": 0.584, "F1_score": 0.564, "ROC_AUC": 0.805},
        "train": {"Accuracy": 0.598, "F1_score": 0.577, "ROC_AUC": 0.852},
        "test": {"Accuracy": 0.613, "F1_score": 0.593, "ROC_AUC": 0.801},
    },
    "confusion": [[10 * (row == column) + 1 for column in range(len(CLASSES))] for row in range(len(CLASSES))],
    "seconds": 1.7,
    "error": None,
    "link": None,
}
Search = Annotated[str | None, Query(pattern=f"^{TIME}$", description="When it ended; else the latest")]

router = APIRouter(tags=["About"])


class SearchResults(BaseModel):
    """One search: its trials, in no particular order, and what the search goes by."""

    search: str = Field(description="When it ended", examples=[_TIME])
    searches: list[str] = Field(description=f"Those that the bucket has, the latest {MOST}", examples=[[_TIME]])
    metric: str = Field(description="The best of it in cross-validation is the choice", examples=[SEARCH_RULE.metric])
    classes: list[int] = Field(description="Rows and columns of each confusion", examples=[list(CLASSES)])
    trials: list[TrialRecord] = Field(examples=[[_EXAMPLE]])


@router.get("/experiments", responses=WITH_NONE)
async def experiments(search: Search = None) -> SearchResults:
    """Show the trials of the latest search, or of ``search``, with parameters and figures."""
    return await read(_read, search)


def _read(search: str | None) -> SearchResults:
    reader = Reader.from_environment()
    keys = {time: key for key in reader.list(FOLDER) if (time := find_time(key))}
    if not keys:
        raise MissingError("no search is in the bucket yet; make one with: python -m src.learn_models")
    chosen = search or max(keys)
    if chosen not in keys:
        raise MissingError(f"the bucket has no search that ended at {chosen}; the latest ended at {max(keys)}")
    trials = read_search(reader.get(keys[chosen], MAX_BYTES), keys[chosen])
    searches = sorted(keys, reverse=True)[:MOST]
    return SearchResults(
        search=chosen, searches=searches, metric=SEARCH_RULE.metric, classes=list(CLASSES), trials=trials
    )
