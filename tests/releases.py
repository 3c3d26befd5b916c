"""Releases for tests, made by the pipeline's own steps."""

from typing import Any

from src import pipeline
from src.config import MODEL, PARAMETERS, SPLIT, Split
from src.pointer import Pointer


def make_release(data: Pointer, rule: Split = SPLIT, run: str = "test", **parameters: Any) -> Pointer:
    """Train and test a release on data that is in the bucket; nothing is promoted."""
    sides = pipeline.prepare_data(data.to_dict(), rule)
    run_meta = pipeline.describe_run(run, "train_model")
    challenger = pipeline.train_model(data.to_dict(), sides, run_meta, MODEL, PARAMETERS | parameters, rule)
    return Pointer.from_dict(pipeline.test_model(challenger, sides))
