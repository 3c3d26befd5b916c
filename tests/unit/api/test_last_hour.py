"""The last hour is sixty minutes of totals, which workers share, and of which times are read off."""

from pathlib import Path

import pytest

from src.api.activity import find_quantile
from src.api.last_hour import LastHour
from src.api.telemetry import SECONDS, Totals

NOON = 1_790_000_000 // 60 * 60


class Counting:
    """Totals that grow by one each time that they are asked for."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.requests = 0

    def __call__(self) -> Totals:
        """Count."""
        self.requests += 1
        return {"requests": {"/predict 200": self.requests}, "latency": {}, "predictions": {}}


@pytest.mark.parametrize("is_shared", [False, True])
def test_it_forgets_what_is_older_than_an_hour(tmp_path: Path, is_shared: bool) -> None:
    hour = LastHour(Counting(), tmp_path / "0" if is_shared else None)
    for minute in range(120):
        hour.take(NOON + minute * 60)
    moments = hour.read(NOON + 119 * 60 + 30)
    assert [when for when, _ in moments] == [NOON + minute * 60 for minute in range(60, 120)] + [NOON + 119 * 60 + 30]
    assert moments[-1][1]["requests"] == {"/predict 200": 121}
    assert not is_shared or len([*(tmp_path / "minutes").iterdir()]) <= 63


def test_of_two_workers_the_first_writes_a_minute_and_a_third_finds_all(tmp_path: Path) -> None:
    first, second = (LastHour(Counting(), tmp_path / name) for name in ("0", "1"))
    for minute in range(3):
        first.take(NOON + minute * 60)
        second.take(NOON + minute * 60 + 1)
    third = LastHour(Counting(), tmp_path / "1")
    assert [when for when, _ in third.read(NOON + 150)] == [NOON, NOON + 60, NOON + 120, NOON + 150]


def test_times_lie_between_the_bounds_of_their_buckets() -> None:
    counts = [0] * (len(SECONDS) + 1)
    assert find_quantile(counts, 0.5) is None
    counts[2] = 100  # from 0.3 to 1 ms
    assert find_quantile(counts, 0.5) == pytest.approx(0.00065)
    counts[4] = 2  # from 3 to 10 ms
    assert 0.003 < (find_quantile(counts, 0.99) or 0) < 0.01
    assert find_quantile([0] * len(SECONDS) + [1], 0.5) == SECONDS[-1]
