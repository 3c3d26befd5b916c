"""Monitoring from a shell: ``python -m src.monitoring run [--date D] | label FILE --by NAME | replay ID``."""

import argparse
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from src import cli
from src.config import REPLAY_RULE
from src.core.wine import NAME
from src.errors import RegistryError
from src.monitoring.labels import take_labels
from src.monitoring.report import to_text
from src.monitoring.run import run
from src.registry import Registry
from src.storage.bucket import Bucket
from src.storage.prediction_log import Faults
from src.storage.replay import replay_traffic


def main() -> int:
    """Run the command line; returns the exit code, which says nothing about drift."""
    parser = argparse.ArgumentParser(
        prog="python -m src.monitoring", description="What live wines say of the champion."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    daily = commands.add_parser("run", help="measure a day: drift and performance")
    daily.add_argument("--date", type=date.fromisoformat, metavar="D", help="a day (UTC) as 2026-03-01; else yesterday")
    label = commands.add_parser("label", help="tell the true class of predictions")
    label.add_argument("file", type=Path, help="a CSV of ids, or of features, with the true class")
    label.add_argument("--by", required=True, metavar="NAME", help="who says so")
    again = commands.add_parser("replay", help="score a release on logged traffic, beside the champion")
    again.add_argument("id", help="the release, or how it begins")
    again.add_argument("--days", type=int, default=REPLAY_RULE.days, metavar="N", help="today and those before")
    options = parser.parse_args()
    return cli.run("monitoring", lambda: _COMMANDS[options.command](options))


def _run(options: argparse.Namespace) -> int:
    day = options.date or datetime.now(UTC).date() - timedelta(days=1)
    figures = run(Registry(Bucket.from_environment()), day)
    print(to_text(figures))
    print(f"written: {figures.key} and its .html")
    return 0


def _label(options: argparse.Namespace) -> int:
    outcome = take_labels(Bucket.from_environment(), options.file, options.by, datetime.now(UTC).date())
    for fault in outcome.faults:
        print(f"monitoring: {options.file.name}: {fault}", file=sys.stderr)
    for told in outcome.unread.told:
        print(f"monitoring: not read: {told}", file=sys.stderr)
    print(f"{outcome.taken} labels taken, {len(outcome.faults)} not")
    return 1 if outcome.faults else 0


def _replay(options: argparse.Namespace) -> int:
    registry = Registry(Bucket.from_environment())
    champion = registry.current()
    if champion is None:
        raise RegistryError("there is no champion yet; make one with: make run")
    release = registry.load(registry.find(registry.complete(options.id)))
    faults = Faults()
    done = replay_traffic(
        registry.bucket, release, registry.load(champion), replace(REPLAY_RULE, days=options.days), faults
    )
    for told in faults.told:
        print(f"monitoring: not replayed: {told}", file=sys.stderr)
    print(done.to_text() if done else f"no {NAME} was logged in {options.days} day(s)")
    return 0


_COMMANDS = {"run": _run, "label": _label, "replay": _replay}

if __name__ == "__main__":
    sys.exit(main())
