"""The registry from a shell: ``python -m src.registry current | history | rollback | promote``."""

import argparse
import getpass
import sys

from src import cli
from src.errors import RegistryError
from src.registry import Promotion, Registry
from src.storage.bucket import Bucket


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.registry", description="The champion and its history.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("current", help="show the champion")
    commands.add_parser("history", help="list every change of champion, oldest first")
    back = commands.add_parser("rollback", help="make an earlier release the champion again")
    back.add_argument("id", nargs="?", help="the release; without it, the one that the champion replaced")
    commands.add_parser("promote", help="make a tested release the champion, whatever its metrics").add_argument("id")
    options = parser.parse_args()
    return cli.run("registry", lambda: _COMMANDS[options.command](Registry(Bucket.from_environment()), options))


def _show_current(registry: Registry, _: argparse.Namespace) -> None:
    champion = registry.current()
    if champion is None:
        raise RegistryError("there is no champion yet; make one with: make run")
    print(champion.to_yaml(), end="")


def _show_history(registry: Registry, _: argparse.Namespace) -> None:
    for event in registry.history():
        print(
            f"{event.time}  {event.kind:8}  {event.replaced or 'nothing':12} → {event.release}  {event.reason}"
            f"  ({event.by})"
        )


def _roll_back(registry: Registry, options: argparse.Namespace) -> None:
    _announce(registry.rollback(options.id, getpass.getuser()))


def _promote_by_hand(registry: Registry, options: argparse.Namespace) -> None:
    _announce(registry.promote(registry.find(options.id), "promoted by hand", getpass.getuser(), {}))


def _announce(event: Promotion) -> None:
    print(f"champion: {event.replaced or 'nothing'} → {event.release} ({event.kind} at {event.time})")


_COMMANDS = {
    "current": _show_current,
    "history": _show_history,
    "rollback": _roll_back,
    "promote": _promote_by_hand,
}

if __name__ == "__main__":
    sys.exit(main())
