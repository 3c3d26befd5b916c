"""Monitoring from a shell: ``python -m src.monitoring run | label FILE | replay ID``."""

import argparse
import getpass
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from src import cli
from src.config import REPLAY_RULE
from src.core.replay import Wines, replay
from src.core.wine import NAME
from src.errors import RegistryError
from src.monitoring.day import observe
from src.monitoring.figures import tell
from src.monitoring.label import label_file
from src.registry import Registry
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults, read_labels_of, read_latest


def main() -> int:
    """Run the command line; returns the exit code, which says nothing about what was found."""
    parser = argparse.ArgumentParser(prog="python -m src.monitoring", description="What the prediction log tells.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure a day: drift, performance, guard; keep figures and report")
    run.add_argument("--date", type=date.fromisoformat, default=None, metavar="D", help="UTC; without it, yesterday")
    label = commands.add_parser("label", help="take what turned out true of predictions")
    label.add_argument("file", type=Path, help="CSV: id and the target, or each feature and the target")
    label.add_argument("--by", default=getpass.getuser(), metavar="NAME", help="who tells it; without it, you")
    label.add_argument("--days", type=int, default=30, metavar="N", help="days in which features are looked for")
    again = commands.add_parser("replay", help="score a release on logged traffic, beside the champion")
    again.add_argument("id")
    again.add_argument("--days", type=int, default=REPLAY_RULE.days, metavar="N", help="today and those before")
    options = parser.parse_args()
    command = {
        "run": lambda: _run(options.date),
        "label": lambda: _label(options.file, options.by, options.days),
        "replay": lambda: _replay(options.id, options.days),
    }[options.command]
    return cli.run("monitoring", command)


def _run(day: date | None) -> None:
    print(tell(observe(Registry(Bucket.from_environment()), day or _today() - timedelta(days=1))))


def _label(file: Path, by: str, days: int) -> None:
    faults = Faults()
    taken = label_file(Bucket.from_environment(), file, by, _today(), days, faults)
    _show_faults(faults, "left out")
    for one in taken.unknown:
        print(f"unknown: {one}")
    for one, value in taken.labelled_otherwise.items():
        print(f"labelled otherwise before, and that stands: {one} is {value}")
    before = f", {len(taken.labelled_before)} had theirs already" if taken.labelled_before else ""
    print(f"{len(taken.taken)} label(s) taken{before}")


def _replay(release_id: str, days: int) -> None:
    bucket, faults = Bucket.from_environment(), Faults()
    registry = Registry(bucket)
    champion = registry.current()
    if champion is None:
        raise RegistryError("there is no champion yet; make one with: make run")
    challenger = registry.load(registry.find(registry.complete(release_id)))
    predictions = read_latest(bucket, _today(), days, REPLAY_RULE.rows, faults)
    labels = {one.id: one.label for one in read_labels_of(bucket, predictions, faults)}
    _show_faults(faults, "not replayed")
    if not predictions:
        print(f"no {NAME} was logged in {days} day(s)")
        return
    print(replay(challenger, registry.load(champion), Wines.gather(predictions, labels)).to_text())


def _show_faults(faults: Faults, what: str) -> None:
    for fault in faults.told:
        print(f"{what}: {fault}", file=sys.stderr)
    if more := faults.count - len(faults.told):
        print(f"{what}: {more} more", file=sys.stderr)


def _today() -> date:
    return datetime.now(UTC).date()


if __name__ == "__main__":
    sys.exit(main())
