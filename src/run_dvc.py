"""DVC's pull on the bucket that the environment names: ``python -m src.run_dvc pull data.dvc``.

DVC alone would write wherever a listing in the bucket says; here each listing is checked before DVC sees it.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from src import cli
from src.config import DATA_POINTER, PROJECT
from src.core.pointer import Pointer
from src.core.release import FOLDER
from src.errors import IntegrityError, MissingError
from src.storage.bucket import Bucket, content_key
from src.storage.workspace import keep_listing

REMOTE = "bucket"
PATHS = (DATA_POINTER.stem, FOLDER)  # what may be written in the project


def name_remote(bucket: Bucket) -> None:
    """Make ``bucket`` a remote of this checkout, beside the committed ones, whose every md5 DVC verifies at a pull."""
    from dvc.config import Config

    with Config(str(PROJECT / ".dvc")).edit("local") as config:
        config.setdefault("remote", {})[REMOTE] = {"url": bucket.dvc_url, "verify": True}


def main(arguments: list[str]) -> int:
    """Pull what the given ``.dvc`` files name, by DVC's own command line; returns the exit code."""
    if len(arguments) < 2 or arguments[0] != "pull":
        print("usage: python -m src.run_dvc pull FILE.dvc ...", file=sys.stderr)
        return 2
    files = [Path(file).resolve() for file in arguments[1:]]
    return cli.run("run_dvc", lambda: pull(files))


def pull(files: Sequence[Path]) -> int:
    """Pull what ``.dvc`` files name into their folders, each listing checked before DVC sees it; returns the exit code.

    Raises:
        StackError: the store is unreachable, or what is to be pulled is broken or leads elsewhere.

    """
    from dvc.cli import main as dvc

    bucket = Bucket.from_environment()
    bucket.check()
    for file in files:
        pointer = check_target(file, bucket)
        check_replaced(file.parent / pointer.path, bucket)
    name_remote(bucket)
    os.chdir(PROJECT)
    # Without --force, DVC asks about every byte that its own cache lacks, which another version's are.
    code: int = dvc(["pull", *map(str, files), "--remote", REMOTE, "--force"])
    return code


def check_replaced(folder: Path, bucket: Bucket) -> None:
    """Make sure that nothing gets lost where DVC replaces or deletes a folder's files: the bucket has their bytes.

    Raises:
        IntegrityError: there is a file that it lacks.

    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if bucket.find_etag(content_key(md5)) is None:
            name = os.path.relpath(path)
            raise IntegrityError(
                f"{name} would be lost, for the bucket holds no such bytes; move it away, or "
                f"push it with: make data CSV={name}"
            )


def check_target(file: Path, bucket: Bucket) -> Pointer:
    """Return the pointer that a ``.dvc`` file is, after a check of what it names; keep the checked listing for DVC.

    Raises:
        IntegrityError: the file, or the listing in the bucket, is broken or leads elsewhere.
        MissingError: there is no such file, or the bucket lacks the listing.

    """
    try:
        pointer = Pointer.from_yaml(file.read_bytes())
    except OSError as error:
        raise MissingError(f"{file.name} cannot be read: {error.strerror}") from error
    if pointer.path not in PATHS:
        raise IntegrityError(f"{file.name} would be written to {pointer.path!r}, expected {' or '.join(PATHS)}")
    keep_listing(pointer, bucket, PROJECT / ".dvc" / "cache")
    return pointer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
