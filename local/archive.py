"""The file that a backup is: named parts, and a manifest with the SHA-256 of each.

The manifest comes last, so that a file that was cut short has none.
"""

import gzip
import hashlib
import io
import os
import tarfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from src.core.formats import Stored
from src.errors import IntegrityError, StackError

MANIFEST = "manifest.json"
FAST = 1  # of gzip's levels; what is large in a bucket is compressed already
Part = tuple[str, bytes]


class BackupError(StackError):
    """A file is no whole backup, or must not be restored here."""


class Manifest(Stored):
    """When a backup was made, and the SHA-256 of each part."""

    made: str
    parts: Mapping[str, str]


def write(path: Path, parts: Iterable[Part], made: str) -> None:
    """Write a backup that its owner alone may read; it has its name when it is whole."""
    temporary = path.with_name(f"{path.name}.part")
    digests: dict[str, str] = {}
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=FAST) as archive:
                for name, content in parts:
                    _add(archive, name, content)
                    digests[name] = hashlib.sha256(content).hexdigest()
                _add(archive, MANIFEST, Manifest(made=made, parts=digests).to_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Iterator[Part]:
    """Yield the parts of a backup in the order in which they were written, the manifest included.

    Raises:
        BackupError: it is none, or it ends too early.

    """
    try:
        with gzip.open(path) as content:
            with tarfile.open(fileobj=content, mode="r:") as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is None:
                        raise BackupError(f"{path.name} is not a backup: {member.name!r} is no file")
                    yield member.name, file.read()
            while content.read(2**20):  # to the checksum at its end
                pass
    except FileNotFoundError as error:
        raise BackupError(f"there is no {path}") from error
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BackupError(f"{path.name} is not a backup, or was cut short: {error}") from error


def check(path: Path) -> Manifest:
    """Return the manifest of a backup after a look at every byte of it.

    Raises:
        BackupError: it is none, was cut short, or holds other bytes than its manifest says.

    """
    found: dict[str, str] = {}
    manifest = None
    for name, content in read(path):
        if name == MANIFEST:
            manifest = _read_manifest(path, content)
        else:
            found[name] = hashlib.sha256(content).hexdigest()
    if manifest is None:
        raise BackupError(f"{path.name} is not a backup, or was cut short: it has no {MANIFEST}")
    if wrong := sorted(name for name in found.keys() | manifest.parts if found.get(name) != manifest.parts.get(name)):
        raise BackupError(f"{path.name} was altered: {', '.join(wrong[:3])}")
    return manifest


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(content))


def _read_manifest(path: Path, content: bytes) -> Manifest:
    try:
        return Manifest.read_json(content, f"{MANIFEST} of {path.name}")
    except IntegrityError as error:
        raise BackupError(f"{path.name} cannot be restored: {error}") from error
