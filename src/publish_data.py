"""A new version of the table: ``make data CSV=path`` validates it, pushes it, then points ``data.dvc`` at it.

The bytes that are kept are the table as ``dataset.write`` spells it, so that equal tables have equal md5, whatever
program the file came from.
"""

import argparse
import getpass
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from src import cli
from src.config import DATA_POINTER, PROJECT
from src.core import dataset, wine
from src.core.pointer import Pointer
from src.errors import DataError
from src.monitoring import labelled_wines
from src.pipeline import new_data
from src.registry import Registry
from src.storage.bucket import Bucket
from src.storage.workspace import open_workspace

ONLY_HERE = (
    "These bytes lie in a bucket of this machine: a teammate's clone will not find them; set BUCKET to a shared store"
)


def publish(
    csv: Path,
    bucket: Bucket,
    why: str = "",
    say: Callable[[str], None] = print,
    about: Mapping[str, Any] | None = None,
) -> Pointer:
    """Version ``csv`` as the data; ``data.dvc`` changes only after the bucket holds every byte.

    ``why`` is a person's reason to accept what the table changes beside the champion's; ``about`` says more of where
    the table comes from.

    Raises:
        DataError: the table is not valid, or is held: see :class:`new_data.Check`.
        StoreError: the store is unreachable; nothing changed.

    """
    if not csv.is_file():
        raise DataError(f"there is no file {str(csv)!r}; name one with: make data CSV=path")
    if len(why) > new_data.MAX_TEXT:
        raise DataError(f"ACCEPT has {len(why)} characters, expected at most {new_data.MAX_TEXT}")
    reading = dataset.read_any(csv)
    if reading.converted:
        say(f"{csv.name} was read with {'; '.join(reading.converted)}; it is kept as a plain comma-separated table")
    with open_workspace(bucket) as workspace:
        check = new_data.check(reading.table, Registry(bucket), workspace)
        say(check.to_text())
        names = [finding.name for finding in check.findings]
        check.hold_unless(names if why.strip() else (), str(csv))
        folder = workspace.folder / "data"
        folder.mkdir()
        dataset.write(reading.table, folder / wine.FILE)
        (pointer,) = workspace.push(folder)
        _replace_data(folder)
    return _replace_pointer(pointer.with_meta(**_describe(check, pointer, why.strip()), **(about or {})))


def publish_labelled(bucket: Bucket, why: str = "", say: Callable[[str], None] = print) -> Pointer:
    """Version the table of ``data.dvc`` with the wines that were labelled since; raises as :func:`publish` does."""
    proposal = labelled_wines.propose(Pointer.from_yaml(DATA_POINTER.read_text()), bucket)
    for fault in proposal.faults.told:
        say(f"left out: {fault}")
    say(f"{proposal.added} labelled {wine.NAME}s are new to the table")
    with TemporaryDirectory(prefix="labelled-") as folder:
        return publish(labelled_wines.write(proposal, Path(folder)), bucket, why, say, proposal.about)


def _describe(check: new_data.Check, pointer: Pointer, why: str) -> dict[str, Any]:
    """Return what ``make data-log`` shows of this version, and what was accepted of it."""
    who = {"by": getpass.getuser(), "time": datetime.now(UTC).isoformat(timespec="seconds")}
    about = {"rows": check.rows, "difference": check.summarise(), **who}
    if not check.findings:
        return about
    findings = [finding.name for finding in check.findings]
    return about | {"accepted": {"md5": pointer.md5, "findings": findings, "text": why, **who}}


def _replace_pointer(pointer: Pointer) -> Pointer:
    """Write ``data.dvc``, unless it says the same of the same bytes already."""
    if DATA_POINTER.is_file():
        before = Pointer.from_yaml(DATA_POINTER.read_text())
        if before.md5 == pointer.md5 and set(new_data.read_accepted(pointer)) <= set(new_data.read_accepted(before)):
            return before
    temporary = DATA_POINTER.with_suffix(".new")
    temporary.write_text(pointer.to_yaml())
    os.replace(temporary, DATA_POINTER)
    return pointer


def _replace_data(folder: Path) -> None:
    data = PROJECT / "data"
    data.mkdir(exist_ok=True)
    temporary = data / f"{wine.FILE}.new"
    temporary.unlink(missing_ok=True)
    shutil.copyfile(folder / wine.FILE, temporary)
    temporary.replace(data / wine.FILE)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.publish_data", description="Version and push a new table.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("--from", dest="source", choices=("", "labels"), default="", help="the labelled wines instead")
    parser.add_argument("--accept", default="", metavar="WHY", help="why what the table changes is as it should be")
    options = parser.parse_args()
    return cli.run("data", lambda: _publish(options.csv, options.accept, options.source == "labels"))


def _publish(csv: Path, why: str, from_labels: bool) -> None:
    bucket = Bucket.from_environment()
    pointer = publish_labelled(bucket, why) if from_labels else publish(csv, bucket, why)
    print(f"data.dvc names {pointer.md5} now, and the bucket holds it. Next: git commit -m 'New data' data.dvc")
    if is_local(bucket.endpoint):
        print(ONLY_HERE)


def is_local(endpoint: str) -> bool:
    """Say whether no other machine reaches a store at this address."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    sys.exit(main())
