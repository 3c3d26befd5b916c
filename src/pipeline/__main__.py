"""The daily run from a shell: ``python -m src.pipeline [compare | reproduce ID]``."""

import argparse
import logging
import os
import sys
from datetime import UTC, datetime

from src import cli
from src.core.signature import public_half
from src.pipeline import run, steps
from src.registry import Registry
from src.settings import make_signing_key, read_trusted_keys
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
    told = logging.StreamHandler(sys.stdout)
    told.setFormatter(logging.Formatter("%(funcName)-14s%(message)s"))  # a step tells what it did under its own name
    steps.log.addHandler(told)
    steps.log.setLevel(logging.INFO)
    if run.run(_run_id()) is None:
        print(f"{'update_model':14}skipped, the champion stays")


def _compare() -> None:
    _sign_with_own_key()
    registry = Registry(Bucket.from_environment())
    tested, comparison = run.compare(_run_id())
    champion = registry.load(registry.find(comparison.champion)).provenance if comparison.champion else None
    code = steps.describe_code(tested.meta) if "git_diff" in tested.meta else None
    print(comparison.to_markdown(registry.load(tested).provenance, champion, code))


def _reproduce(release_id: str) -> None:
    _sign_with_own_key()
    registry = Registry(Bucket.from_environment())
    again = run.reproduce(registry, registry.find(release_id))
    print(f"{release_id}: trained again, same bytes (md5 {again.md5})")


def _sign_with_own_key() -> None:
    """Let this process sign with a key that nobody else trusts: what it trains is never promoted.

    So a merge request needs no private key, which its code could take away.
    """
    key = make_signing_key()
    os.environ |= {"SIGNING_KEY": key, "TRUSTED_KEYS": ",".join([*read_trusted_keys(), public_half(key)])}


def _run_id() -> str:
    return f"shell__{datetime.now(UTC).isoformat(timespec='seconds')}"


if __name__ == "__main__":
    sys.exit(main())
