"""What ``/metrics`` shows, in Prometheus' text format."""

from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from src.api.champion import Champion, LiveRelease
from src.core.table import spell
from src.core.wine import NAME

PREFIX = spell(NAME)


class Telemetry(Collector):
    """Counts predictions, and reads the champion's state when it is asked."""

    def __init__(self) -> None:
        """Start from zero."""
        self.registry = CollectorRegistry()
        self.predictions = Counter(f"{PREFIX}_predictions", "Predictions answered", ["release"], registry=self.registry)
        self.seconds = Histogram(
            f"{PREFIX}_prediction_seconds",
            "Time in the model, in seconds",
            buckets=(0.00001, 0.0001, 0.001, 0.01, 0.1),
            registry=self.registry,
        )
        self._champion: Champion | None = None

    def follow(self, champion: Champion) -> None:
        """Show this champion's state."""
        self._champion = champion
        self.registry.register(self)

    def count(self, live: LiveRelease, labels: np.ndarray, values: np.ndarray) -> None:
        """Count the predictions of a batch: labels (rows,) for values (rows, features)."""
        self.predictions.labels(live.id).inc(len(labels))

    def collect(self) -> Iterator[Metric]:
        """Yield the champion's gauges."""
        if self._champion is None:
            return
        status, live = self._champion.status, self._champion.live
        release = GaugeMetricFamily(f"{PREFIX}_release_info", "1 for the release that is serving", labels=["release"])
        if live:
            release.add_metric([live.id], 1)
        yield release
        rejected = status.rejection is not None
        yield _gauge("release_rejected", "1 while the champion is rejected", float(rejected))
        if status.age is not None:
            reachable, age = float(status.store_error is None), status.age
            yield _gauge("store_reachable", "1 if the last poll of the bucket succeeded", reachable)
            yield _gauge("store_poll_age_seconds", "Seconds since the last poll of the bucket", age)


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", what, value)
