"""Releases for tests, made by the pipeline's own steps."""

from collections.abc import Mapping
from typing import Any

from src import pipeline
from src.config import MODEL, PARAMETERS, SPLIT, Split
from src.pointer import Pointer


def make_release(data: Pointer, parameters: Mapping[str, Any], rule: Split = SPLIT) -> Pointer:
    """Train and test a release on data that is in the bucket; nothing is promoted."""
    sides = pipeline.prepare_data(data.to_dict(), rule)
    run = pipeline.describe_run("test", "train_model")
    challenger = pipeline.train_model(data.to_dict(), sides, run, MODEL, {**PARAMETERS, **parameters}, rule)
    return Pointer.from_dict(pipeline.test_model(challenger, sides))
