"""The registry from a shell: ``python -m src.registry current | history | rollback | promote | reproduce``."""

import argparse
import getpass
import sys

from src import cli, registry
from src.bucket import Bucket
from src.errors import RegistryError
from src.release import library_versions


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.registry", description="The champion and its history.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("current", help="show the champion")
    commands.add_parser("history", help="list every change of champion, oldest first")
    back = commands.add_parser("rollback", help="make an earlier release the champion again")
    back.add_argument("id", nargs="?", help="the release; without it, the one that the champion replaced")
    commands.add_parser("promote", help="make a tested release the champion, whatever its metrics").add_argument("id")
    commands.add_parser("reproduce", help="train a release again and compare the bytes").add_argument("id")
    options = parser.parse_args()
    return cli.run("registry", lambda: _COMMANDS[options.command](Bucket.from_environment(), options))


def _show_current(bucket: Bucket, _: argparse.Namespace) -> int:
    champion = registry.current(bucket)
    if champion is None:
        raise RegistryError("there is no champion yet; make one with: make run")
    print(champion.to_yaml(), end="")
    return 0


def _show_history(bucket: Bucket, _: argparse.Namespace) -> int:
    for event in registry.history(bucket):
        print(f"{event.time}  {event.kind:8}  {event.replaced or 'nothing':12} → {event.release}  {event.reason}"
              f"  ({event.by})")
    return 0


def _roll_back(bucket: Bucket, options: argparse.Namespace) -> int:
    return _announce(registry.rollback(bucket, options.id, getpass.getuser()))


def _promote_by_hand(bucket: Bucket, options: argparse.Namespace) -> int:
    by = getpass.getuser()
    return _announce(registry.promote(bucket, registry.find(bucket, options.id), "promoted by hand", by, {}))


def _reproduce(bucket: Bucket, options: argparse.Namespace) -> int:
    from src import pipeline

    pointer = registry.find(bucket, options.id)
    again = pipeline.reproduce(bucket, pointer)
    if again.md5 != pointer.md5:
        recorded, now = registry.load(bucket, pointer).provenance.libraries, library_versions()
        changed = [f"{name} {recorded.get(name)} → {now[name]}" for name in now if recorded.get(name) != now[name]]
        why = f"the libraries changed: {', '.join(changed)}" if changed else "the code or the processor changed"
        raise RegistryError(f"training again gave {again.md5}, the release is {pointer.md5}; {why}")
    print(f"{options.id}: trained again, same bytes (md5 {again.md5})")
    return 0


def _announce(event: registry.Promotion) -> int:
    print(f"champion: {event.replaced or 'nothing'} → {event.release} ({event.kind} at {event.time})")
    return 0


_COMMANDS = {
    "current": _show_current,
    "history": _show_history,
    "rollback": _roll_back,
    "promote": _promote_by_hand,
    "reproduce": _reproduce,
}

if __name__ == "__main__":
    sys.exit(main())
