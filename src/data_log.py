"""The versions of the table, newest first: ``make data-log``. Git keeps them: each commit of ``data.dvc`` is one."""

import argparse
import subprocess
import sys
from collections.abc import Iterator

from src import cli
from src.config import DATA_POINTER, PROJECT
from src.core.pointer import Pointer
from src.errors import IntegrityError

UNKNOWN = "–"


def versions() -> Iterator[tuple[str, str, Pointer]]:
    """Yield (commit, author and date, pointer) of each version; one that was not committed yet comes first."""
    now = Pointer.from_yaml(DATA_POINTER.read_text())
    history = list(_committed())
    if not history or history[0][2] != now:
        yield "not committed", "", now
    yield from history


def _committed() -> Iterator[tuple[str, str, Pointer]]:
    for line in _git("log", "--format=%h%x09%as  %an", "--", DATA_POINTER.name).splitlines():
        commit, _, about = line.partition("\t")
        try:
            yield commit, about, Pointer.from_yaml(_git("show", f"{commit}:./{DATA_POINTER.name}"))
        except IntegrityError:
            continue  # the commit that took the file away, or one with a conflict in it


def _git(*arguments: str) -> str:
    """Return what git prints; nothing where there is no git, or no commit yet."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout


def main() -> int:
    """Run the command line; returns the exit code."""
    argparse.ArgumentParser(prog="python -m src.data_log", description="List the versions of the table.").parse_args()
    return cli.run("data-log", _show)


def _show() -> None:
    for commit, about, pointer in versions():
        meta = pointer.meta
        who = about or f"{str(meta.get('time', UNKNOWN))[:10]}  {meta.get('by', UNKNOWN)}"
        print(f"{commit}  {pointer.id}  {who}  {meta.get('rows', UNKNOWN)} rows  {meta.get('difference', '')}".rstrip())
        accepted = meta.get("accepted")
        if isinstance(accepted, dict):
            print(f"    accepted by {accepted.get('by')} at {accepted.get('time')}: {accepted.get('text')}")


if __name__ == "__main__":
    sys.exit(main())
