"""The registry from a shell: ``python -m src.registry current | history | rollback | promote | sign | new-key``."""

import argparse
import getpass
import json
import sys
from collections.abc import Iterator, Mapping

from src import cli
from src.core.release import Release
from src.core.signature import name_key, public_half
from src.errors import IntegrityError, MissingError, RegistryError
from src.registry import Promotion, Registry
from src.settings import make_signing_key, read_trusted_keys
from src.storage.bucket import Bucket


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.registry", description="The champion and its history.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("current", help="show the champion")
    history = commands.add_parser("history", help="list every change of champion, oldest first; * is the champion")
    history.add_argument("--last", type=_count, metavar="N", help="only the last N changes")
    history.add_argument("--json", action="store_true", help="one JSON object a line, as the bucket keeps it")
    back = commands.add_parser("rollback", help="make an earlier release the champion again")
    back.add_argument("id", nargs="?", help="the release, or how it begins; without it, the one that was replaced")
    promote = commands.add_parser("promote", help="make a tested release the champion, whatever its metrics")
    promote.add_argument("id", help="the release, or how it begins")
    promote.add_argument("--new-contract", action="store_true", help="also where its features or classes are others")
    sign = commands.add_parser("sign", help="sign a release on your word: you know where it comes from")
    sign.add_argument("id", help="the release; its whole md5, where no trusted key has signed it")
    commands.add_parser("new-key", help="make a key to sign with, and show it with the trusted ones, as .env has them")
    options = parser.parse_args()
    if options.command == "new-key":
        return cli.run("registry", _show_new_key)
    return cli.run("registry", lambda: _COMMANDS[options.command](Registry(Bucket.from_environment()), options))


def _show_current(registry: Registry, _: argparse.Namespace) -> None:
    champion = registry.current()
    if champion is None:
        raise RegistryError("there is no champion yet; make one with: make run")
    print(champion.to_yaml(), end="")


def _show_history(registry: Registry, options: argparse.Namespace) -> None:
    events = registry.history()
    champion = events[-1].release if events else None
    figures = {event.release: event.metrics["challenger"] for event in events if "challenger" in event.metrics}
    for event in events[-options.last if options.last else 0 :]:
        if options.json:
            print(json.dumps({**event.model_dump(mode="json"), "champion": event.release == champion}, sort_keys=True))
            continue
        mark = "*" if event.release == champion else " "
        told = "  ".join([*_tell_figures(figures.get(event.release, {})), event.reason])
        print(
            f"{event.time}  {event.kind:8}  {event.replaced or 'nothing':12} → {event.release} {mark} {told}"
            f"  ({event.by})"
        )


def _tell_figures(metrics: Mapping[str, float]) -> Iterator[str]:
    return (f"{name} {value:.3f}" for name, value in metrics.items())


def _roll_back(registry: Registry, options: argparse.Namespace) -> None:
    _announce(registry.rollback(options.id and registry.complete(options.id), getpass.getuser()))


def _promote_by_hand(registry: Registry, options: argparse.Namespace) -> None:
    pointer = registry.find(registry.complete(options.id))
    release = registry.load(pointer)
    if not options.new_contract and (change := _new_contract(registry, release)):
        raise RegistryError(
            f"{pointer.id} has another contract than the champion: {change}; a person who wants that "
            f"adds --new-contract: python -m src.registry promote {pointer.id} --new-contract"
        )
    _announce(registry.promote(pointer, "promoted by hand", getpass.getuser(), {"challenger": release.metrics.test}))


def _sign(registry: Registry, options: argparse.Namespace) -> None:
    statement = registry.sign(registry.complete(options.id))
    print(f"release {statement.release[:12]} is signed by key {statement.key[:12]}, which says that its files are:")
    for name, digest in statement.digests.items():
        print(f"{digest}  {name}")


def _show_new_key() -> None:
    key = make_signing_key()
    public = public_half(key)
    print(f"# key {name_key(public)[:12]}: docs/signing.md says in which order its two lines go into .env")
    print(f"SIGNING_KEY={key}\nTRUSTED_KEYS={','.join([*read_trusted_keys(), public])}")


def _new_contract(registry: Registry, release: Release) -> str | None:
    """Say how a release's contract differs from the champion's; one that cannot be read holds nobody to it."""
    try:
        champion = registry.current()
        return release.provenance.contradicts(registry.load(champion).provenance) if champion else None
    except (IntegrityError, MissingError):
        return None


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _announce(event: Promotion) -> None:
    print(f"champion: {event.replaced or 'nothing'} → {event.release} ({event.kind} at {event.time})")


_COMMANDS = {
    "current": _show_current,
    "history": _show_history,
    "rollback": _roll_back,
    "promote": _promote_by_hand,
    "sign": _sign,
}

if __name__ == "__main__":
    sys.exit(main())
