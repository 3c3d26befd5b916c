"""The first bytes of the bucket: what ``data.dvc`` names comes from ``local/bootstrap`` unless it is there already."""

from collections.abc import Callable

from src.bucket import DVC_PREFIX, Bucket, read_files
from src.config import DATA_POINTER, PROJECT
from src.errors import IntegrityError, MissingError
from src.pointer import Pointer
from src.run_dvc import name_remote
from src.workspace import open_workspace

SOURCES = (PROJECT / "local" / "bootstrap", PROJECT / ".dvc" / "cache")  # both laid out as a DVC remote


def publish_data(say: Callable[[str], None]) -> None:
    """Make sure that the bucket is there and holds the data; point the DVC remote ``bucket`` at it.

    Raises:
        MissingError: neither the bucket, nor ``local/bootstrap``, nor DVC's cache has the bytes.

    """
    bucket = Bucket.from_environment()
    bucket.create()
    name_remote(bucket)
    pointer = Pointer.from_yaml(DATA_POINTER.read_text())
    try:
        bucket.verify(pointer)
        say(f"data {pointer.id}: in the bucket already")
    except (MissingError, IntegrityError):
        say(f"data {pointer.id}: copying from local/bootstrap to the bucket")
        _copy(pointer, bucket)


def _copy(pointer: Pointer, bucket: Bucket) -> None:
    with open_workspace(bucket) as workspace:
        folder = workspace.folder / pointer.path
        for name, content in read_files(_read_local, pointer):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        workspace.push(folder)


def _read_local(key: str) -> bytes:
    for source in SOURCES:
        path = source / key.removeprefix(f"{DVC_PREFIX}/")
        if path.is_file():
            return path.read_bytes()
    raise MissingError(f"neither the bucket nor local/bootstrap has {key}, which data.dvc names; "
                       "push it where it was made with: make data CSV=path, or go back: git checkout HEAD~1 data.dvc")
