"""A new version of the table: ``make data CSV=path`` validates it, pushes it, then points ``data.dvc`` at it."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from src import cli
from src.config import DATA_POINTER, PROJECT
from src.core import dataset, wine
from src.core.pointer import Pointer
from src.errors import DataError
from src.storage.bucket import Bucket
from src.storage.workspace import open_workspace


def publish(csv: Path, bucket: Bucket) -> Pointer:
    """Version ``csv`` as the data; ``data.dvc`` changes only after the bucket holds every byte.

    Raises:
        DataError: the table is not valid.
        StoreError: the store is unreachable; nothing changed.

    """
    if not csv.is_file():
        raise DataError(f"there is no file {str(csv)!r}; name one with: make data CSV=path")
    dataset.read(csv)
    with open_workspace(bucket) as workspace:
        folder = workspace.folder / "data"
        folder.mkdir()
        shutil.copyfile(csv, folder / wine.FILE)
        (pointer,) = workspace.push(folder)
        _replace_data(folder)
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
    csv = parser.parse_args().csv
    return cli.run("data", lambda: _publish(csv))


def _publish(csv: Path) -> None:
    pointer = publish(csv, Bucket.from_environment())
    print(f"data.dvc names {pointer.md5} now, and the bucket holds it. Next: git commit -m 'New data' data.dvc")


if __name__ == "__main__":
    sys.exit(main())
