"""One day of live wines: what it was, set beside the release that answered."""

from dataclasses import dataclass
from datetime import date

from src.config import DRIFT_RULE, PERFORMANCE_RULE
from src.core import drift, performance
from src.core.day_figures import DayFigures, Drift, Estimate, Performance, Unread
from src.core.release import Release
from src.core.wine import NAME
from src.errors import IntegrityError, MissingError, RegistryError
from src.monitoring import traffic
from src.monitoring.traffic import Traffic
from src.registry import Registry
from src.storage.prediction_log import Faults


@dataclass(frozen=True)
class Day:
    """A day's figures, and what they were made of; there may be no release to set the wines beside."""

    figures: DayFigures
    wines: Traffic
    release: Release | None


def measure_day(registry: Registry, day: date) -> Day:
    """Read a day's wines and labels back and measure them; what cannot be read or told is named, and the rest counts.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    faults, notes = Faults(), list[str]()
    wines = traffic.read(registry.bucket, day, faults)
    release_id = next(iter(wines.count_by_release), None)
    release = _load(registry, release_id, notes) if release_id else None
    if not release_id:
        notes.append(f"no {NAME} of that day is in the log")
    own = wines.take(wines.releases == release_id) if release_id else wines
    figures = DayFigures(
        date=day.isoformat(),
        rows=len(wines.ids),
        releases=wines.count_by_release,
        release=release_id,
        drift=_measure_drift(wines, own, release, notes) if release else None,
        performance=_measure_performance(own, release, notes) if release else None,
        notes=tuple(notes),
        unread=Unread(count=faults.count, told=tuple(faults.told)),
    )
    return Day(figures, wines, release)


def _load(registry: Registry, release_id: str, notes: list[str]) -> Release | None:
    try:
        release = registry.load(registry.find(release_id))
    except (RegistryError, IntegrityError, MissingError) as error:
        notes.append(f"release {release_id}, which answered, cannot be read: {error}")
        return None
    if not release.provenance.is_of_this_table:
        notes.append(f"release {release_id} is of another table than src/core/wine.py describes")
        return None
    if release.profile is None:
        notes.append(
            f"release {release_id} was made by older code and has no profile, without which drift and the expected "
            "accuracy are not known; make and promote one of today's: make run"
        )
    return release


def _measure_drift(wines: Traffic, own: Traffic, release: Release, notes: list[str]) -> Drift | None:
    if release.profile is None:
        return None
    different, answered = wines.drop_copies(), own.drop_copies()
    if len(answered.ids) < DRIFT_RULE.least_rows:
        count = len(answered.ids)
        notes.append(f"{count} different {NAME}s, and {DRIFT_RULE.least_rows} are needed to tell whether they drift")
        return None
    return drift.measure(different.values, answered.predicted, release.profile, DRIFT_RULE)


def _measure_performance(own: Traffic, release: Release, notes: list[str]) -> Performance:
    labelled = own.take(own.is_labelled)
    return Performance(
        rows=len(own.ids),
        labelled=len(labelled.ids),
        expected_accuracy=_expect(own, release),
        measured=_measure_labelled(labelled, release, notes),
    )


def _expect(own: Traffic, release: Release) -> Estimate | None:
    if release.profile is None:
        return None
    test = release.metrics.test.get("Accuracy")
    return performance.expect_accuracy(own.probabilities, release.profile, test, PERFORMANCE_RULE)


def _measure_labelled(labelled: Traffic, release: Release, notes: list[str]) -> dict[str, Estimate]:
    count = len(labelled.ids)
    if count < PERFORMANCE_RULE.least_labels:
        notes.append(f"{count} {NAME}s have a label, and {PERFORMANCE_RULE.least_labels} are needed for the metrics")
        return {}
    try:
        answers = labelled.answers(release.provenance.classes)
        return dict(performance.measure(labelled.truth, answers, release, PERFORMANCE_RULE))
    except ValueError as error:
        notes.append(f"the labels give no metrics: {error}")
        return {}
