"""Predictions as the service logs them, of real wines, in a test's own bucket."""

import gzip
import time
from collections.abc import Sequence

import pandas as pd

from src.core import dataset
from src.core.prediction_record import FIELDS, Label, Prediction, encode, spell_time
from src.core.release import Release
from src.core.wine import TARGET
from src.storage.bucket import Bucket
from src.storage.prediction_log import name_part, write_labels

WORKER = "0a0b0c0d"


def answer(
    release: Release, name: str, table: pd.DataFrame, start: int | None = None, worker: str = WORKER
) -> list[Prediction]:
    """Return what a release answers about rows of the table, a microsecond apart, from ``start`` (ns) on: now."""
    values = table[dataset.FEATURE_NAMES].to_numpy()
    labels, probabilities = release.model.predict(values)
    classes = [str(label) for label in release.provenance.classes]
    begin = start or time.time_ns()
    return [
        Prediction(
            time=spell_time(begin + number * 1000),
            id=f"{begin + number * 1000:016x}{worker}",
            request_id=f"test-{number}",
            route="/predict",
            release=name,
            predicted=int(label),
            values=dict(zip(FIELDS, map(float, row), strict=True)),
            probabilities=dict(zip(classes, (round(float(share), 6) for share in shares), strict=True)),
        )
        for number, (label, row, shares) in enumerate(zip(labels, values, probabilities, strict=True))
    ]


def pack(predictions: Sequence[Prediction]) -> bytes:
    """Return predictions as an object of the log holds them."""
    return gzip.compress(b"".join(encode(one) + b"\n" for one in predictions))


def send(bucket: Bucket, predictions: Sequence[Prediction]) -> str:
    """Put predictions of one hour into the log; returns the object's key."""
    key = name_part(predictions[0].id)
    bucket.put(key, pack(predictions))
    return key


def label(bucket: Bucket, predictions: Sequence[Prediction], table: pd.DataFrame) -> None:
    """Give each prediction the true class that its row of the table has."""
    now = spell_time(time.time_ns())
    true = [int(one) for one in table[TARGET]]
    write_labels(
        bucket, [Label(time=now, id=one.id, label=each, by="test") for one, each in zip(predictions, true, strict=True)]
    )
