"""What a backup of the stack holds, how it is read while everything goes on, and how it is put back.

airflow.db      Airflow's runs
bucket/<key>    the objects; the champion's pointer is the last of them
env             .env with its secrets, where that was asked for
"""

import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from local import archive
from local.archive import BackupError, Part
from local.env import ENV, write_env
from local.services import STACK_HOME
from src.errors import ConflictError, MissingError
from src.registry import CURRENT, TRIES
from src.storage.bucket import Bucket

AIRFLOW, OBJECTS, SECRETS = "airflow.db", "bucket/", "env"  # names of parts
AIRFLOW_DATABASE = STACK_HOME / "airflow" / "airflow.db"
REGISTRY = "registry/"


def read_stack(with_secrets: bool) -> Iterator[Part]:
    """Yield all that a backup holds: Airflow's database first, for what its runs tell of is in the bucket by then."""
    if AIRFLOW_DATABASE.exists():
        yield AIRFLOW, read_database(AIRFLOW_DATABASE)
    yield from read_bucket(Bucket.from_environment())
    if with_secrets:
        yield SECRETS, ENV.read_bytes()


def read_bucket(bucket: Bucket) -> Iterator[Part]:
    """Yield every object of a bucket that may change meanwhile, so that no pointer is without its bytes.

    The registry is read first, in one state, for what it names was in the bucket before it; and it comes last.

    Raises:
        ConflictError: the champion changed again and again meanwhile.

    """
    registry = _read_registry(bucket)
    for key in bucket.list(""):
        if not key.startswith(REGISTRY):
            with suppress(MissingError):  # deleted since it was listed
                yield OBJECTS + key, bucket.get(key, sys.maxsize)
    for key in sorted(registry, key=lambda key: (key == CURRENT, key)):
        yield OBJECTS + key, registry[key]


def read_database(path: Path) -> bytes:
    """Return a SQLite database as it is between two writes, whoever is at work on it."""
    with tempfile.NamedTemporaryFile() as copy:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy.name)) as target:
            source.backup(target)
        return Path(copy.name).read_bytes()


def restore_env(path: Path) -> str:
    """Write the ``.env`` of a backup where there is none, or else a new one; return the sentence about what was done.

    One that is there stays, with its ports and its secrets.
    """
    if ENV.exists():
        return "the .env that is there stays"
    content = next((content for name, content in archive.read(path) if name == SECRETS), None)
    if content is None:
        write_env()
        return "wrote .env with random secrets (mode 600), for the backup holds none"
    with os.fdopen(os.open(ENV, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return "restored .env (mode 600)"


def restore_airflow(path: Path) -> None:
    """Write Airflow's database, which nothing uses yet, where the backup holds one."""
    AIRFLOW_DATABASE.parent.mkdir(parents=True, exist_ok=True)
    for name, content in archive.read(path):
        if name == AIRFLOW:
            AIRFLOW_DATABASE.write_bytes(content)


def restore_bucket(path: Path, bucket: Bucket) -> int:
    """Write every object to a bucket that has no champion yet, whose pointer is the last; return their number.

    Raises:
        BackupError: it has one.

    """
    bucket.create()
    if bucket.find_etag(CURRENT):
        raise BackupError(f"bucket {bucket.name} has a champion already; set another BUCKET in .env")
    count = 0
    for name, content in archive.read(path):
        if name.startswith(OBJECTS):
            bucket.put(name.removeprefix(OBJECTS), content)
            count += 1
    return count


def _read_registry(bucket: Bucket) -> dict[str, bytes]:
    for _ in range(TRIES):
        before = bucket.find_etag(CURRENT)
        content = {key: bucket.get(key) for key in bucket.list(REGISTRY)}
        if bucket.find_etag(CURRENT) == before:
            return content
    raise ConflictError(f"{CURRENT} was changed {TRIES} times meanwhile; try again")
