"""The gate: what keeps a challenger from becoming the champion, and how the two compare on the same held-out wines."""

from collections.abc import Iterable

import pandas as pd

from src.config import PROMOTION_RULE, ReplayRule
from src.core import dataset, metrics, wine
from src.core.metrics import Answers, Decision
from src.core.release import Release
from src.core.replay import Replay
from src.errors import IntegrityError, MissingError
from src.pipeline.comparison import Comparison
from src.registry import Registry

PROMOTE = "python -m src.registry promote"


def find_obstacle(release_id: str, challenger: Release, champion: Release | None) -> str | None:
    """Say why the challenger may not even be compared: a class is missing, or the champion's contract is another."""
    ours = challenger.provenance
    missing = [str(label) for label in wine.CLASSES if label not in ours.classes]
    if missing:
        return (
            f"it cannot answer {wine.TARGET} {' and '.join(missing)} of src/core/wine.py, "
            "of which no row was there to train on; it is held"
        )
    change = ours.contradicts(champion.provenance) if champion else None
    if change:
        return (
            f"it has another contract than the champion: {change}; it is held, "
            f"and a person may promote it with: {PROMOTE} {release_id} --new-contract"
        )
    return None


def compare(
    release_id: str, champion_id: str, challenger: Release, champion: Release, test: pd.DataFrame
) -> Comparison:
    """Set both on the same rows, which neither was trained on, and decide by ``PROMOTION_RULE``."""
    truth, classes = test[wine.TARGET].to_numpy(), challenger.provenance.classes
    mine, theirs = (answer(one, test) for one in (challenger, champion))
    scores = {
        name: metrics.score(truth, one.labels, one.probabilities, classes)
        for name, one in (("challenger", mine), ("champion", theirs))
    }
    intervals = metrics.bootstrap(truth, mine, theirs, classes, PROMOTION_RULE)
    changed = challenger.provenance.data["md5"] != champion.provenance.data["md5"]
    decision = metrics.decide(
        scores["challenger"], scores["champion"], intervals, len(test), PROMOTION_RULE, data_changed=changed
    )
    before, now = (metrics.recall(truth, one.labels) for one in (theirs, mine))
    lost = [
        f"{wine.TARGET} {label} falls to nothing (recall {before[label]:.2f} → 0)"
        for label, share in now.items()
        if share == 0 < before[label]
    ]
    reason = "; ".join([decision.reason, *lost])
    return Comparison(decision.promote, reason, release_id, champion_id, scores, intervals)


def answer(release: Release, table: pd.DataFrame) -> Answers:
    """Return what a release answers about a table's rows."""
    return Answers(*release.model.predict(table[dataset.FEATURE_NAMES].to_numpy()))


def find_veto(registry: Registry, comparison: Comparison, replayed: Replay | None, rule: ReplayRule) -> Decision | None:
    """Decide against a better challenger where it was taken back, its test rows judged too many, or traffic objects."""
    by_hand = f"promote it by hand with: {PROMOTE} {comparison.release}"
    if registry.is_rolled_back(comparison.release):
        return Decision(False, f"{comparison.release} was rolled back; {by_hand}")
    if comparison.looks > PROMOTION_RULE.looks:
        return Decision(
            False,
            f"{comparison.reason}; but the same held-out {wine.NAME}s have judged "
            f"{comparison.looks} releases, more than {PROMOTION_RULE.looks}, so that chance may speak; "
            f"bring fresh ones with: make data CSV=path; or {by_hand}",
        )
    if replayed and replayed.rows >= rule.least_rows and replayed.disagreement > rule.max_disagreement:
        return Decision(
            False,
            f"{comparison.reason}; but {replayed.to_text()}; above {rule.max_disagreement:.0%} "
            f"(max_disagreement in src/config.py) it is held for a person: {by_hand}",
        )
    return None


def count_looks(registry: Registry, release_id: str, test_rows: Iterable[str]) -> int:
    """Return how many registered releases these test rows (md5) have judged, with the one that is judged now."""
    rows, looks = set(test_rows), 1
    for other in registry.releases():
        try:
            looks += other != release_id and str(registry.find(other).meta.get("test_rows")) in rows
        except (IntegrityError, MissingError):  # what cannot be read was never compared
            continue
    return looks
