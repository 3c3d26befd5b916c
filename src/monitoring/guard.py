"""The guard: where labels show that the champion is worse than the release it replaced, it says so or takes it back."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from src.config import GUARD_RULE, PromotionRule
from src.core import metrics
from src.core.day_figures import Guarded
from src.core.metrics import Answers, Interval
from src.core.prediction_record import Label, Prediction, find_time
from src.core.release import Release
from src.core.replay import Wines
from src.core.wine import NAME
from src.registry import PROMOTE, Promotion, Registry
from src.storage.prediction_log import Faults, find_predictions, read_labels

BY = "guard"


@dataclass(frozen=True)
class Verdict:
    """What labels say of a champion beside the release it ``replaced``, on the same ``rows``; intervals are of the
    champion's metrics minus the other's, and empty where there are too few rows to tell.
    """

    champion: str
    replaced: str
    rows: int
    intervals: dict[str, Interval]

    @property
    def is_worse(self) -> bool:
        """Say whether the champion is worse beyond chance by one metric, and better by none."""
        fallen = any(interval.high < 0 for interval in self.intervals.values())
        return fallen and not any(interval.low > 0 for interval in self.intervals.values())

    def to_text(self) -> str:
        """Return it in words."""
        beside = f"on {self.rows:,} labelled {NAME}s since its promotion"
        if not self.intervals:
            return f"{beside} nothing can be told of {self.champion} yet"
        told = ", ".join(f"{name} {interval}" for name, interval in self.intervals.items())
        if not self.is_worse:
            return f"{beside} {self.champion} is not worse than {self.replaced}: {told}"
        return f"{beside} {self.champion} is worse beyond chance than {self.replaced}: {told}"

    def describe(self, rolled_back: bool) -> Guarded:
        """Return what the day's figures keep."""
        told = f"{self.to_text()}; {self.champion} was rolled back" if rolled_back else self.to_text()
        return Guarded(
            champion=self.champion,
            replaced=self.replaced,
            rows=self.rows,
            is_worse=self.is_worse,
            rolled_back=rolled_back,
            told=told,
        )


def judge(registry: Registry, today: date, faults: Faults) -> Verdict | None:
    """Set the champion beside the release it replaced, on labelled wines that it was asked about; changes nothing.

    None where it replaced none, where it was rolled back to, or where the two have different contracts.

    Raises:
        IntegrityError, MissingError, RegistryError: one of the two cannot be loaded, so that nothing is known.

    """
    history = registry.history()
    last = history[-1] if history else None
    if last is None or last.kind != PROMOTE or last.replaced is None:
        return None
    champion, replaced = (registry.load(registry.find(one)) for one in (last.release, last.replaced))
    if champion.provenance.contradicts(replaced.provenance):
        return None
    wines = _gather_since(registry, last, today, faults)
    return Verdict(last.release, last.replaced, len(wines.truth), _compare(champion, replaced, wines))


def roll_back(registry: Registry, verdict: Verdict) -> Promotion:
    """Make the replaced release the champion again, unless somebody changed the champion meanwhile.

    Raises:
        RegistryError: somebody did.

    """
    return registry.rollback(verdict.replaced, BY, verdict.to_text(), replacing=verdict.champion)


def _gather_since(registry: Registry, promotion: Promotion, today: date, faults: Faults) -> Wines:
    """Return the wines that were asked about since the promotion and have a label: the champion learnt from none."""
    start = datetime.fromisoformat(promotion.time).astimezone(UTC)
    first = max(start.date(), today - timedelta(days=GUARD_RULE.days))
    labels: dict[str, Label] = {}
    for day in _days(first, today):
        labels |= read_labels(registry.bucket, day, faults)
    since = [one for one in labels if find_time(one) >= start]
    predictions: dict[str, Prediction] = find_predictions(registry.bucket, since, faults)
    return Wines.gather(predictions.values(), {one: labels[one].label for one in predictions})


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def _compare(champion: Release, replaced: Release, wines: Wines) -> dict[str, Interval]:
    if len(wines.truth) < GUARD_RULE.least_rows or len(np.unique(wines.truth)) < 2:
        return {}
    mine, theirs = (Answers(*release.model.predict(wines.values)) for release in (champion, replaced))
    rule = PromotionRule(confidence=GUARD_RULE.confidence, draws=GUARD_RULE.draws, seed=GUARD_RULE.seed)
    return metrics.bootstrap(wines.truth, mine, theirs, champion.provenance.classes, rule)
