"""A temporary DVC repository: files and folders go to the bucket and come back by content."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from src.config import DATA_LIMITS
from src.core.pointer import Pointer
from src.errors import IntegrityError, StoreError
from src.storage.bucket import DVC_PREFIX, Bucket, list_files, read_files

if TYPE_CHECKING:
    from dvc.repo import Repo

log = logging.getLogger(__name__)
PREFIX = "wine-workspace-"
NEW = "wine-new-"  # of a folder that is not locked yet
NEW_SECONDS = 60  # that this may take

_CONFIG = """\
[core]
    no_scm = true
    analytics = false
    check_update = false
    remote = bucket
    site_cache_dir = {folder}/site
[remote "bucket"]
    url = {url}
    endpointurl = {endpoint}
    connect_timeout = 3
    read_timeout = 15
    verify = true
"""


class Workspace:
    """A folder with a DVC repository of its own, gone when its block ends; tasks never share one."""

    def __init__(self, folder: Path, repo: "Repo", bucket: Bucket) -> None:
        """Hold what :func:`open_workspace` made."""
        self.folder = folder
        self._repo = repo
        self._bucket = bucket

    def push(self, *paths: Path) -> list[Pointer]:
        """Send files or folders of the workspace to the bucket, read them back, and return their pointers.

        Objects that the bucket holds with other bytes than their name says are repaired.

        Raises:
            StoreError: the store is unreachable, or rejected a byte.
            IntegrityError: the bucket does not hold what was sent, even so.

        """
        with _translated(f"push {', '.join(path.name for path in paths)}"):
            self._repo.add([str(path) for path in paths])
            files = [path.with_name(f"{path.name}.dvc") for path in paths]
            self._repo.push(targets=[str(file) for file in files])
        pointers = [Pointer.from_yaml(file.read_text()) for file in files]
        for pointer in pointers:
            try:
                self._bucket.verify(pointer)
            except IntegrityError as error:
                log.warning("%s; writing the true bytes over them", error)
                self._repair(pointer)
        return pointers

    def pull(self, *pointers: Pointer) -> list[Path]:
        """Bring what each pointer names into a folder of its own and return the paths, in the same order.

        Raises:
            StoreError: the store is unreachable or rejects.
            MissingError: the bucket lacks the bytes.
            IntegrityError: the bytes have another md5.

        """
        files = [self._write_pointer(pointer) for pointer in pointers]
        for pointer in pointers:
            keep_listing(pointer, self._bucket, self.folder / ".dvc" / "cache")
        try:
            with _translated(f"pull {', '.join(pointer.path for pointer in pointers)}"):
                self._repo.pull(targets=[str(file) for file in files])
        except StoreError:
            for pointer in pointers:
                self._bucket.verify(pointer)  # says which object is missing or altered, where that is the cause
            raise
        paths = [file.with_suffix("") for file in files]
        for path, pointer in zip(paths, pointers, strict=True):
            if _md5(path) != pointer.md5:  # DVC itself believes the store
                self._bucket.verify(pointer)
                raise IntegrityError(f"DVC pulled something else than {pointer.path} with md5 {pointer.md5}")
        return paths

    def _repair(self, pointer: Pointer) -> None:
        """Write what ``pointer`` names over altered objects, which DVC takes for pushed already."""
        objects: dict[str, bytes] = {}

        def read(key: str, _: int) -> bytes:
            objects[key] = (self.folder / ".dvc" / "cache" / key.removeprefix(f"{DVC_PREFIX}/")).read_bytes()
            return objects[key]

        for _ in read_files(read, pointer, DATA_LIMITS):
            pass
        for key, content in objects.items():
            self._bucket.put(key, content)

    def _write_pointer(self, pointer: Pointer) -> Path:
        file = self.folder / pointer.md5 / f"{pointer.path}.dvc"
        file.parent.mkdir(exist_ok=True)
        file.write_text(pointer.to_yaml())
        return file


def keep_listing(pointer: Pointer, bucket: Bucket, cache: Path) -> None:
    """Put the listing of a folder into a DVC cache after it was checked, so that DVC asks the bucket for no other.

    DVC itself writes wherever a listing says, ``../`` included.

    Raises:
        MissingError: the bucket lacks it.
        IntegrityError: it was altered, or leads out of its folder.

    """
    objects: dict[str, bytes] = {}

    def read(key: str, limit: int) -> bytes:
        objects[key] = bucket.get(key, limit)
        return objects[key]

    bucket.check_size(pointer, list_files(read, pointer, DATA_LIMITS), DATA_LIMITS)
    for key, content in objects.items():
        path = cache / key.removeprefix(f"{DVC_PREFIX}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(path)


@contextmanager
def open_workspace(bucket: Bucket) -> Iterator[Workspace]:
    """Open a workspace whose remote is ``bucket``.

    Raises:
        StoreError: the store is unreachable or rejects.

    """
    from dvc.repo import Repo

    bucket.check()
    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # what it would say is in the errors raised here
    with _temporary_folder() as folder:
        (folder / ".dvc").mkdir()
        config = _CONFIG.format(folder=folder, url=bucket.dvc_url, endpoint=bucket.endpoint)
        (folder / ".dvc" / "config").write_text(config)
        with _translated(f"open {folder}"):
            repo = Repo(str(folder))
        with repo:
            yield Workspace(folder, repo, bucket)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder that is locked while this process lives; what processes that were killed left behind goes."""
    parent = Path(tempfile.gettempdir()).resolve()
    _sweep(parent)
    unlocked = Path(tempfile.mkdtemp(prefix=NEW, dir=parent))
    lock = os.open(unlocked, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = unlocked.rename(parent / unlocked.name.replace(NEW, PREFIX))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
    finally:
        os.close(lock)


def _sweep(parent: Path) -> None:
    """Delete the workspaces of this user that no living process holds."""
    old = time.time() - NEW_SECONDS
    for folder in (*parent.glob(f"{PREFIX}*"), *parent.glob(f"{NEW}*")):
        with suppress(OSError):
            if folder.name.startswith(NEW) and folder.lstat().st_mtime > old:
                continue  # its maker is about to lock it
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(folder)
            finally:
                os.close(lock)


def _md5(path: Path) -> str:
    """Return the md5 of a file or folder as DVC computes it: a folder's is that of its sorted listing."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    listing = [{"md5": _md5(file), "relpath": relative} for relative, file in sorted(files.items())]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


@contextmanager
def _translated(action: str) -> Iterator[None]:
    from dvc.exceptions import DvcException

    try:
        yield
    except (DvcException, BotoCoreError, ClientError, OSError, sqlite3.Error) as error:
        raise StoreError(f"DVC could not {action}: {error}") from error
