"""The first state of a store: the bucket, and the data that ``data.dvc`` names."""

from collections.abc import Callable

from src.config import DATA_LIMITS, DATA_POINTER, PROJECT
from src.core.pointer import Pointer
from src.errors import IntegrityError, MissingError
from src.storage.bucket import DVC_PREFIX, Bucket, read_files
from src.storage.workspace import open_workspace

SOURCES = (PROJECT / "assets" / "bootstrap", PROJECT / ".dvc" / "cache")  # both laid out as a DVC remote


def publish_data(say: Callable[[str], None]) -> None:
    """Make sure that the bucket is there and holds the data, which comes from ``assets/bootstrap`` where it does not.

    Raises:
        MissingError: neither the bucket, nor ``assets/bootstrap``, nor DVC's cache has the bytes.

    """
    bucket = Bucket.from_environment()
    bucket.create()
    pointer = Pointer.from_yaml(DATA_POINTER.read_text())
    try:
        bucket.verify(pointer)
        say(f"data {pointer.id}: in the bucket already")
    except (MissingError, IntegrityError):
        say(f"data {pointer.id}: copying from assets/bootstrap to the bucket")
        _copy(pointer, bucket)


def _copy(pointer: Pointer, bucket: Bucket) -> None:
    with open_workspace(bucket) as workspace:
        folder = workspace.folder / pointer.path
        for name, content in read_files(_read_local, pointer, DATA_LIMITS):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        workspace.push(folder)


def _read_local(key: str, _: int) -> bytes:
    for source in SOURCES:
        path = source / key.removeprefix(f"{DVC_PREFIX}/")
        if path.is_file():
            return path.read_bytes()
    raise MissingError(
        f"neither the bucket nor assets/bootstrap has {key}, which data.dvc names; "
        "push it where it was made with: make data CSV=path, or go back: git checkout HEAD~1 data.dvc"
    )
