"""Releases for tests, made by the pipeline's own steps."""

from collections.abc import Mapping
from typing import Any

from src.config import PARAMETERS, SPLIT, SplitRule
from src.core.pointer import Pointer
from src.pipeline import run, steps
from src.registry.signed import sign_release
from src.storage.bucket import Bucket


def make_release(data: Pointer, parameters: Mapping[str, Any], rule: SplitRule = SPLIT) -> Pointer:
    """Train and test a release on data that is in the bucket; nothing is promoted."""
    about = steps.describe_run("test", "train_model")
    release, _ = run.make_release(data, about, parameters={**PARAMETERS, **parameters}, rule=rule)
    return release


def sign(bucket: Bucket, pointer: Pointer) -> Pointer:
    """Sign what is in the bucket, as if the pipeline had made it."""
    return sign_release(pointer, dict(bucket.read_files(pointer)))
