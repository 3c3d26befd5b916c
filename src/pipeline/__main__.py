"""The daily run from a shell: ``python -m src.pipeline [compare | reproduce ID]``."""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from src import cli
from src.config import MODEL, PARAMETERS
from src.pipeline import run
from src.registry import Registry
from src.storage.bucket import Bucket


def main() -> int:
    """Run the command line; returns the exit code, which says nothing about a decision."""
    parser = argparse.ArgumentParser(prog="python -m src.pipeline", description="Do the daily run.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("compare", help="train this checkout's model, and print it beside the champion as Markdown")
    commands.add_parser("reproduce", help="train a release again and compare the bytes").add_argument("id")
    options = parser.parse_args()
    command = {None: _run, "compare": _compare, "reproduce": lambda: _reproduce(options.id)}[options.command]
    return cli.run("pipeline", command)


def _run() -> None:
    run.run(_run_id(), _tell)


def _compare() -> None:
    registry = Registry(Bucket.from_environment())
    tested, comparison = run.compare(_run_id())
    champion = registry.load(registry.find(comparison.champion)).provenance if comparison.champion else None
    print(comparison.to_markdown(registry.load(tested).provenance, champion))


def _reproduce(release_id: str) -> None:
    registry = Registry(Bucket.from_environment())
    again = run.reproduce(registry, registry.find(release_id))
    print(f"{release_id}: trained again, same bytes (md5 {again.md5})")


def _run_id() -> str:
    return f"shell__{datetime.now(UTC).isoformat(timespec='seconds')}"


def _tell(step: str, result: Any) -> None:
    told = {
        "pull_data": lambda: f"data {result.md5}: valid",
        "prepare_data": lambda: f"train {result.train.md5}, test {result.test.md5}",
        "train_model": lambda: f"{MODEL} {PARAMETERS}",
        "test_model": lambda: f"release {result.id}",
        "check_metrics": lambda: f"{result.reason}\n{result.to_text()}",
        "update_model": lambda: (
            f"champion: {result.replaced or 'nothing'} → {result.release}" if result else "skipped, the champion stays"
        ),
    }
    print(f"{step:14}{told[step]()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
