"""What ``/metrics`` shows, in Prometheus' text format: the sum over all workers, whichever is asked."""

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from src.api.champion import Champion, LiveRelease
from src.api.counters import Counters, read_counters
from src.api.prediction_log import PredictionLog
from src.core.table import spell
from src.core.wine import FEATURES, NAME

PREFIX = spell(NAME)
SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
NOWHERE = "none"  # the route of what was rejected before there was one
DROPPED, REASONS = "dropped", ("memory", "disk", "limit")
REQUESTS, LATENCY, NANOSECONDS, CUT = "requests", "latency", "nanoseconds", "cut"
PREDICTIONS, UNUSUAL, REJECTED, PID, RELEASE = "predictions", "unusual", "rejected", "pid", "release"
Totals = dict[str, dict[str, int]]

_counter, _gauge = CounterMetricFamily, GaugeMetricFamily
METRICS: dict[str, tuple[Callable[..., Any], str, tuple[str, ...]]] = {
    "requests": (
        _counter,
        "Requests answered; the route is none for what was rejected before it was known",
        ("route", "status"),
    ),
    "request_seconds": (HistogramMetricFamily, "Time to answer, in seconds", ("route",)),
    "connections_cut": (_counter, "Connections ended without an answer: late, or for a new one", ("reason",)),
    "predictions": (_counter, "Rows predicted", ("release", "class")),
    "unusual_inputs": (_counter, "Inputs outside the range that training saw", ("feature",)),
    "predictions_dropped": (_counter, "Predictions that are missing in the log", ("reason",)),
    "prediction_log_pending_bytes": (_gauge, "Bytes that are not in the bucket yet", ()),
    "prediction_log_sent_age_seconds": (_gauge, "Seconds since predictions were last sent", ()),
    "release_info": (_gauge, "1 for the release that is serving", ("release",)),
    "champion_promoted_timestamp_seconds": (_gauge, "When the champion was promoted", ()),
    "champion_age_seconds": (_gauge, "Seconds since the champion was promoted", ()),
    "release_rejected": (_gauge, "1 while the champion is rejected", ()),
    "releases_rejected": (_counter, "Champions that were rejected", ()),
    "store_reachable": (_gauge, "1 if the last poll of the bucket succeeded", ()),
    "store_poll_age_seconds": (_gauge, "Seconds since the last poll of the bucket", ()),
}


class Telemetry(Collector):
    """Counts what is answered, in the event loop's thread, and reads the champion's state when it is asked."""

    def __init__(self, champion: Champion, path: Path | None = None) -> None:
        """Count for this worker in the file at ``path``, beside those of the others; alone, in memory."""
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._champion, self._path = champion, path
        self.log: PredictionLog | None = None
        self._counters = Counters(path)
        self._counters.put((PID,), os.getpid())
        for feature in FEATURES:
            self._counters.add((UNUSUAL, feature.field), 0)
        champion.on_reject = self._counters.adder((REJECTED,))
        self._counters.put((RELEASE,), 0)
        put = self._counters.setter((RELEASE,))
        champion.on_take = lambda release: put(int(release, 16))
        self._droppers = {reason: self._counters.adder((DROPPED, reason)) for reason in REASONS}

    def count(self, live: LiveRelease, labels: np.ndarray, values: np.ndarray) -> None:
        """Count rows that were predicted: labels (rows,) for values (rows, features)."""
        for label in live.release.provenance.classes:
            if number := int(np.count_nonzero(labels == label)):
                self._counters.add((PREDICTIONS, live.id, label), number)
        lowest, highest = np.array(live.ranges, values.dtype).T
        outside = (values < lowest) | (values > highest)
        if np.count_nonzero(outside):  # few batches hold one, and to count them by feature takes as long again
            for feature, number in zip(FEATURES, outside.sum(axis=0).tolist(), strict=True):
                if number:
                    self._counters.add((UNUSUAL, feature.field), number)

    def count_row(self, release: str, label: int, unusual: Sequence[int]) -> None:
        """Count one row, of which the features at these places are outside what training saw."""
        self._counters.add((PREDICTIONS, release, label))
        for number in unusual:
            self._counters.add((UNUSUAL, FEATURES[number].field))

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        add = self._counters.add
        add((REQUESTS, route, status))
        add((LATENCY, route, bisect_left(SECONDS, seconds)))
        add((NANOSECONDS, route), int(seconds * 1e9))

    def count_cut(self, reason: str) -> None:
        """Count a connection that was ended without an answer."""
        self._counters.add((CUT, reason))

    def count_dropped(self, reason: str, number: int) -> None:
        """Count predictions that are missing in the log; each reason is one thread's to give."""
        self._droppers[reason](number)

    def sum_dropped(self) -> int:
        """Return how many predictions of all workers are missing in the log."""
        return sum(one.get((DROPPED, reason), 0) for one in self._read_all().values() for reason in REASONS)

    def total(self) -> Totals:
        """Return what all workers counted: answers by route and status, their times by route and bucket, and classes.

        The parts of a name stand in one text, with a space between them.
        """
        totals: Totals = {REQUESTS: {}, LATENCY: {}, PREDICTIONS: {}}
        for one in self._read_all().values():
            for (kind, *parts), number in one.items():
                if kind in totals:
                    name = parts[1] if kind == PREDICTIONS else " ".join(parts)
                    totals[kind][name] = totals[kind].get(name, 0) + number
        return totals

    def list_workers(self) -> list[tuple[str, int, str | None]]:
        """Return each worker's number, its process, and the release that it serves (None: none yet)."""
        return [
            (worker, one[(PID,)], f"{one[(RELEASE,)]:012x}" if one.get((RELEASE,)) else None)
            for worker, one in self._read_all().items()
            if (PID,) in one
        ]

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        workers = self._read_all()
        total: Counter[tuple[str, ...]] = Counter()
        for one in workers.values():
            total.update(one)
        for name in (REQUESTS, PREDICTIONS, UNUSUAL, CUT, DROPPED):
            family = _family(_SPELLED.get(name, name))
            for (kind, *values), number in total.items():
                if kind == name:
                    family.add_metric(values, number)
            yield family
        yield _latencies(total)
        rejected = max(one.get((REJECTED,), 0) for one in workers.values())  # each worker rejects the same ones
        yield _family("releases_rejected", rejected)
        yield from self._describe_champion()
        if self.log:
            yield _family("prediction_log_pending_bytes", self.log.pending)
            if (age := self.log.spool.seconds_since_sent) is not None:
                yield _family("prediction_log_sent_age_seconds", age)
        yield from _describe_processes({worker: one[(PID,)] for worker, one in workers.items() if (PID,) in one})

    def _read_all(self) -> dict[str, dict[tuple[str, ...], int]]:
        """Return the numbers of each worker."""
        if not self._path:
            return {"0": dict(self._counters.items())}
        return {path.name: dict(read_counters(path)) for path in sorted(self._path.parent.iterdir()) if path.is_file()}

    def _describe_champion(self) -> Iterator[Metric]:
        status, live = self._champion.status, self._champion.live
        release = _family("release_info")
        if live:
            release.add_metric([live.id], 1)
        yield release
        if live and (promoted := live.promoted_at) is not None:
            yield _family("champion_promoted_timestamp_seconds", promoted)
            yield _family("champion_age_seconds", time.time() - promoted)
        yield _family("release_rejected", status.rejection is not None)
        if status.age is not None:
            yield _family("store_reachable", status.store_error is None)
            yield _family("store_poll_age_seconds", status.age)


_SPELLED = {DROPPED: "predictions_dropped", UNUSUAL: "unusual_inputs", CUT: "connections_cut"}


def _latencies(total: Counter[tuple[str, ...]]) -> HistogramMetricFamily:
    family: HistogramMetricFamily = _family("request_seconds")
    for route in [name[1] for name in total if name[0] == NANOSECONDS]:
        counts = [total[LATENCY, route, str(number)] for number in range(len(SECONDS) + 1)]
        bounds = [*map(str, SECONDS), "+Inf"]
        buckets = [(bound, float(number)) for bound, number in zip(bounds, accumulate(counts), strict=True)]
        family.add_metric([route], buckets, total[NANOSECONDS, route] / 1e9)
    return family


def _describe_processes(pids: dict[str, int]) -> Iterator[Metric]:
    families: dict[str, Metric] = {}
    for worker, pid in pids.items():
        for one in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            family = families.setdefault(one.name, Metric(one.name, one.documentation, one.type))
            for sample in one.samples:
                family.add_sample(sample.name, {"worker": worker}, sample.value)
    yield from families.values()


def _family(name: str, value: float | None = None) -> Any:
    """Return one of ``METRICS``, with its value where it has no labels."""
    kind, what, labels = METRICS[name]
    family = kind(f"{PREFIX}_{name}", what, labels=labels)
    if value is not None:
        family.add_metric([], float(value))
    return family
