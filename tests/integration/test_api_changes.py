"""Whatever changes under load, no request fails, and each answer is that of the release that it names.

``make bench-changes`` does the same with 100,000 requests; both print how long answers took meanwhile.
"""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from src.core.onnx_model import Model
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket, content_key
from tests.conftest import new_bucket
from tests.integration.test_api_follows import get, promote, serves
from tests.integration.test_api_limits import running
from tests.support.asking import Asking, asking
from tests.support.services import Service, eventually

REQUESTS = int(os.environ.get("REQUESTS", "20000"))
MOST = 2  # times the p99 before, that it may be meanwhile
CHANCE = random.Random(0)
ROWS = [{name: value * CHANCE.uniform(0.95, 1.05) for name, value in EXAMPLE.items()} for _ in range(100)]


def expect(bucket: Bucket, pointers: list[Pointer]) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Return the label and probabilities that each release's ONNX file gives for each row by itself."""
    answers: dict[str, list[tuple[int, np.ndarray]]] = {}
    for pointer in pointers:
        model = Model(dict(bucket.read_files(pointer))["model.onnx"])
        found = [model.predict(np.array([[*row.values()]])) for row in ROWS]
        answers[pointer.id] = [(int(labels[0]), probabilities[0]) for labels, probabilities in found]
    return answers


def check(load: Asking, expected: dict[str, list[tuple[int, np.ndarray]]]) -> set[str]:
    """Compare every answer; returns the releases that answered."""
    releases = set()
    for row, content, _ in load.answers:
        assert isinstance(content, bytes), content
        answer = json.loads(content)
        label, probabilities = expected[answer["release"]][row]
        assert answer["predicted_quality"] == label
        assert np.abs(probabilities - [*answer["probabilities"].values()]).max() < 6e-7  # six digits are told
        releases.add(answer["release"])
    return releases


def test_no_change_fails_or_falsifies_an_answer(
    own_store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, second, third), objects = training
    bucket = new_bucket(own_store, monkeypatch)
    for key, content in objects.items():
        bucket.put(key, content)
    expected = expect(bucket, [first, second, third])
    promote(bucket, first)

    def promotion() -> None:
        promote(bucket, second)
        eventually(lambda: serves(api, second))

    def roll_back() -> None:
        Registry(bucket).rollback(None, "test")
        eventually(lambda: serves(api, first))

    def corrupted_release() -> None:
        (key,) = [
            content_key(entry["md5"])
            for entry in json.loads(objects[content_key(third.md5)])
            if entry["relpath"] == "model.onnx"
        ]
        before = bucket.get(CURRENT)
        bucket.put(key, objects[key][:-1] + b"x")
        bucket.put(CURRENT, third.to_yaml().encode())
        eventually(lambda: get(api, "/healthcheck").json()["rejected"])
        bucket.put(CURRENT, before)
        eventually(lambda: get(api, "/healthcheck").json()["status"] == "ok")

    def unreachable_store() -> None:
        own_store.stop()
        eventually(lambda: get(api, "/healthcheck").json()["store"]["error"])

    changes: list[Callable[[], None]] = [promotion, roll_back, corrupted_release, unreachable_store]
    part = REQUESTS // (len(changes) + 1)
    with running(tmp_path) as api:
        eventually(lambda: serves(api, first))
        with asking(httpx.URL(api.url).port or 0, ROWS) as load:
            load.wait(part)
            before = load.p99()
            told = [f"before {before:.1f} ms"]
            for change in changes:
                start = len(load.answers)
                change()
                ratio = load.p99(start) / before
                told.append(f"{change.__name__.replace('_', ' ')} {ratio:.1f} times that{' MISSED' * (ratio > MOST)}")
                load.wait(max(0, part - (len(load.answers) - start)))
        assert check(load, expected) == {first.id, second.id}
    assert len(load.answers) >= part * (len(changes) + 1)
    print(f"\n{len(load.answers):,} answers, none failed or false; p99 {', '.join(told)}")
