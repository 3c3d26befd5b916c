"""A release on the latest traffic that the log has: read back, and replayed beside the champion."""

from datetime import UTC, datetime

from src.config import ReplayRule
from src.core.release import Release
from src.core.replay import Replay, Wines, replay
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults, read_labels_of, read_latest


def replay_traffic(
    bucket: Bucket, challenger: Release, champion: Release, rule: ReplayRule, faults: Faults
) -> Replay | None:
    """Score both on the latest logged wines; None where there are none. What cannot be read is added to ``faults``."""
    predictions = read_latest(bucket, datetime.now(UTC).date(), rule.days, rule.rows, faults)
    labels = {one.id: one.label for one in read_labels_of(bucket, predictions, faults)}
    return replay(challenger, champion, Wines.gather(predictions, labels)) if predictions else None
