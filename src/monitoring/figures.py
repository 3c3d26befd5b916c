"""A day's figures: how far its wines are from those that the model was made from, and how right it was about them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date
from itertools import islice

import numpy as np

from src.config import DRIFT_RULE, PERFORMANCE_RULE
from src.core import drift, performance
from src.core.drift import Drift
from src.core.formats import Stored
from src.core.metrics import Answers
from src.core.performance import Expected, Performance
from src.core.prediction_record import FIELDS, Prediction
from src.core.release import Release
from src.core.wine import NAME, TARGET
from src.errors import IntegrityError, MissingError, RegistryError
from src.monitoring.guard import GuardFigures
from src.registry import Registry
from src.storage.prediction_log import Faults, read_day, read_labels

MOST = 500_000  # wines of a day that are looked at: 30 MB of values; more tell nothing new
FIGURES = "monitoring/"
ZONE = UTC
MAX_BYTES = 2**20


class DayFigures(Stored):
    """What the log of a day (UTC) says of ``release``, the one that answered most of its wines.

    ``releases`` and ``predicted`` count the wines of all; ``drift``, ``expected`` and ``performance`` are of those that
    ``release`` answered, the last of the ``labelled`` ones; ``test`` are its metrics when it was tested. ``faults``
    counts what could not be read, ``told`` names the first of it. ``alarms`` are sentences for a person.
    """

    date: str
    wines: int
    releases: Mapping[str, int] = {}
    predicted: Mapping[str, int] = {}
    release: str | None = None
    drift: Drift | None = None
    expected: Expected | None = None
    labelled: int = 0
    performance: Performance | None = None
    test: Mapping[str, float] = {}
    guard: GuardFigures | None = None
    faults: int = 0
    told: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


@dataclass
class _Answers:
    """The wines that one release answered."""

    values: list[list[float]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    predicted: list[int] = field(default_factory=list)
    shares: list[Mapping[str, float]] = field(default_factory=list)

    def add(self, one: Prediction) -> None:
        self.values.append([one.values[name] for name in FIELDS])
        self.ids.append(one.id)
        self.predicted.append(one.predicted)
        self.shares.append(one.probabilities)

    def to_answers(self, classes: Sequence[int]) -> Answers:
        shares = [[share.get(str(label), 0.0) for label in classes] for share in self.shares]
        return Answers(np.array(self.predicted, int), np.array(shares, float))


def name_figures(day: date) -> str:
    """Return the key of a day's figures."""
    return f"{FIGURES}{day:%Y-%m-%d}.json"


def measure(registry: Registry, day: date) -> DayFigures:
    """Read a day's log and labels and measure; changes nothing.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    faults = Faults()
    releases: dict[str, _Answers] = {}
    predicted: Counter[str] = Counter()
    for one in islice(read_day(registry.bucket, day, faults), MOST):
        releases.setdefault(one.release, _Answers()).add(one)
        predicted[str(one.predicted)] += 1
    counts = {name: len(answers.ids) for name, answers in releases.items()}
    labels = {one: label.label for one, label in read_labels(registry.bucket, day, faults).items()}
    about = DayFigures(
        date=day.isoformat(), wines=sum(counts.values()), releases=counts, predicted=dict(sorted(predicted.items()))
    )
    if counts:
        name = max(counts, key=lambda one: counts[one])
        about = about.model_copy(update=_describe(registry, name, releases[name], labels, faults))
    about = about.model_copy(update={"faults": faults.count, "told": tuple(faults.told)})
    return about.model_copy(update={"alarms": tuple(_list_alarms(about))})


def _describe(
    registry: Registry, name: str, answers: _Answers, labels: Mapping[str, int], faults: Faults
) -> dict[str, object]:
    """Return the figures of the release that answered most."""
    known = [place for place, one in enumerate(answers.ids) if one in labels]
    figures: dict[str, object] = {"release": name, "labelled": len(known)}
    try:
        release = registry.load(registry.find(name))
    except (IntegrityError, MissingError, RegistryError) as error:
        faults.add(f"release {name}", error)
        return figures
    if not release.provenance.is_of_this_table:
        faults.add(f"release {name}", "it has other features than src/core/wine.py")
        return figures
    figures["test"] = dict(release.metrics.test)
    mine = answers.to_answers(release.provenance.classes)
    if known:
        truth = np.array([labels[answers.ids[place]] for place in known])
        some = Answers(mine.labels[known], mine.probabilities[known])
        figures["performance"] = performance.measure(truth, some, release.provenance.classes, PERFORMANCE_RULE)
    return figures | _set_beside_profile(release, np.array(answers.values), mine)


def _set_beside_profile(release: Release, values: np.ndarray, answers: Answers) -> dict[str, object]:
    if release.profile is None:  # of older code
        return {}
    return {
        "drift": drift.measure(release.profile, values, answers.labels, DRIFT_RULE),
        "expected": performance.expect_accuracy(release.profile, answers, PERFORMANCE_RULE),
    }


def _list_alarms(day: DayFigures) -> Iterator[str]:
    if day.drift and day.drift.drifted:
        yield f"drift of {', '.join(day.drift.drifted)} among {day.wines:,} {NAME}s of {day.date}"
    expected, test = day.expected, day.test.get("Accuracy")
    if expected and test is not None and expected.high < test - PERFORMANCE_RULE.fall:
        yield f"{day.date}'s probabilities promise an accuracy of {expected.accuracy:.3f}, the test rows had {test:.3f}"
    if day.performance:
        for name, high in day.performance.high.items():
            if name in day.test and high < day.test[name] - PERFORMANCE_RULE.fall:
                now, then = day.performance.metrics[name], day.test[name]
                yield f"{name} is {now:.3f} on the labelled {NAME}s of {day.date}, the test rows had {then:.3f}"


def tell(day: DayFigures) -> str:
    """Return the figures as a table for a terminal or a log."""
    lines = [f"{day.date}: {day.wines:,} {NAME}s, {day.labelled:,} with a label"]
    lines += [f"  release {name}: {count:,}" for name, count in day.releases.items()]
    if day.predicted:
        lines.append(f"  {TARGET}: " + ", ".join(f"{name} {count:,}" for name, count in day.predicted.items()))
    if day.drift:
        lines.append(f"  {'feature':22}{'PSI':>8}{'KS':>8}{'Wasserstein':>13}{'p':>10}")
        for name, one in day.drift.features.items():
            mark = "  drifted" if one.drifted else ""
            lines.append(f"  {name:22}{one.psi:8.3f}{one.ks:8.3f}{one.wasserstein:13.3f}{one.p_value:10.2g}{mark}")
        if not day.drift.enough:
            lines.append(f"  {day.drift.rows} {NAME}s are fewer than {DRIFT_RULE.least_rows}: no alarm is raised")
    if day.expected:
        told = f"{day.expected.accuracy:.3f} ({day.expected.low:.3f} to {day.expected.high:.3f})"
        lines.append(f"  expected accuracy {told}, on the test rows {day.test.get('Accuracy', float('nan')):.3f}")
    if day.performance:
        for name, value in day.performance.metrics.items():
            bounds = f"({day.performance.low[name]:.3f} to {day.performance.high[name]:.3f})"
            lines.append(f"  {name} {value:.3f} {bounds}, on the test rows {day.test.get(name, float('nan')):.3f}")
    lines += [f"  {day.guard.told}"] if day.guard else []
    lines += [f"  not read: {fault}" for fault in day.told]
    lines += [f"  alarm: {alarm}" for alarm in day.alarms]
    return "\n".join(lines)
