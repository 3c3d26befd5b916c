"""The bucket through boto3: single objects, and verified reads of what DVC stored there."""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config import DATA_LIMITS, MAX_LISTING_BYTES, Limits
from src.core.pointer import Pointer, read_listing
from src.errors import ConflictError, IntegrityError, MissingError, StoreError
from src.settings import StoreSettings, read_settings

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

Get = Callable[[str, int], bytes]  # an object's bytes by its key, of which there may be so many
DVC_PREFIX = "dvc"
PROBE = "registry/probe"  # an object that tells whether the store honours conditions
LOCKS = Path("/tmp")  # where every process of a machine looks, whatever its TMPDIR
LOCK_SECONDS = 60.0  # that a change waits for another, which takes less than one where nothing hangs
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_MISSING = {"NoSuchKey", "404", "NotFound"}


@dataclass(frozen=True)
class Bucket:
    """One bucket; every method raises :class:`StoreError` when the store is unreachable or rejects."""

    name: str
    client: "S3Client"

    @classmethod
    def from_environment(cls) -> "Bucket":
        """Return the bucket that ``BUCKET`` and the ``AWS_*`` variables name; nothing is asked of it yet."""
        import boto3  # takes 0.2 s, for which nothing waits that needs no bucket
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        session = Session()
        session.register_component("data_loader", _descriptions())
        config = Config(connect_timeout=3, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2})
        name = read_settings(StoreSettings).bucket
        try:
            return cls(name, boto3.Session(botocore_session=session).client("s3", config=config))
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"the AWS_* variables do not name a store: {error}") from error

    @property
    def dvc_url(self) -> str:
        """Return the address of the DVC remote."""
        return f"s3://{self.name}/{DVC_PREFIX}"

    @property
    def endpoint(self) -> str:
        """Return the address of the store."""
        return self.client.meta.endpoint_url

    def create(self) -> None:
        """Create the bucket where it is not there yet."""
        try:
            self.check()
        except MissingError:
            region = self.client.meta.region_name
            elsewhere: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self._call("create_bucket", **({} if region == "us-east-1" else elsewhere))  # as AWS wants it

    def check(self) -> None:
        """Make sure that the store answers and has the bucket, before slower clients find out.

        Raises:
            MissingError: there is no such bucket.

        """
        self._call("head_bucket")

    def get(self, key: str, limit: int = DATA_LIMITS.size) -> bytes:
        """Return an object's bytes.

        Raises:
            MissingError: there is no such object.
            IntegrityError: it has more than ``limit`` bytes.

        """
        content: bytes = self._call("get_object", limit, Key=key)["Body"]
        return content

    def put(self, key: str, content: bytes) -> None:
        """Write an object and read it back.

        Raises:
            IntegrityError: the store holds something else now.

        """
        self._call("put_object", Key=key, Body=content)
        if self.get(key, len(content)) != content:
            raise IntegrityError(f"{self.name}/{key} does not read back as it was written")

    def put_shared(self, key: str, content: bytes) -> None:
        """Write an object that another may write at the same moment: one of the two stands.

        Raises:
            IntegrityError: the store holds something else now.
            StoreError: another process did not let go of the lock.

        """
        with self.locked(), suppress(ConflictError):
            self.replace(key, content, self.find_etag(key))

    def check_size(self, pointer: Pointer, files: Mapping[str, str], limits: Limits) -> None:
        """Make sure that the ``files`` that ``pointer`` names (md5 by path) have not too many bytes, read none of them.

        Raises:
            MissingError: the bucket lacks one.
            IntegrityError: they have more than ``limits`` allow.

        """
        size = sum(self._call("head_object", Key=content_key(md5))["ContentLength"] for md5 in files.values())
        if size > limits.size:
            raise IntegrityError(f"{pointer.path} has {size} bytes, expected at most {limits.size}")

    def find_etag(self, key: str) -> str | None:
        """Return an object's ETag, None where there is no such object, or it is so new that it has none yet.

        JuiceFS' gateway shows an object a moment before its ETag; a change that expects no object then starts again.
        """
        try:
            etag: str | None = self._call("head_object", Key=key).get("ETag")
        except MissingError:
            return None
        return etag

    def replace(self, key: str, content: bytes, etag: str | None) -> None:
        """Write an object where it still has ``etag`` (None: where it is not there), and read it back.

        A store that ignores conditions writes in any case: :meth:`locked` keeps this machine's writers apart.

        Raises:
            ConflictError: another write came first.
            IntegrityError: the store holds something else now.

        """
        if not self._honours_conditions:
            self.put(key, content)
            return
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        written = self._call("put_object", Key=key, Body=content, **condition)["ETag"]
        try:
            if self._call("get_object", len(content), Key=key, IfMatch=written)["Body"] != content:
                raise IntegrityError(f"{self.name}/{key} does not read back as it was written")
        except ConflictError:
            pass  # it was written, and replaced since

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep this machine's other writers out until the block ends, where the store ignores conditions.

        Raises:
            StoreError: another process did not let go of the lock.

        """
        if self._honours_conditions:
            yield
            return
        name = hashlib.sha256(f"{self.endpoint}/{self.name}".encode()).hexdigest()[:16]
        path = LOCKS / f"wine-registry-{name}.lock"
        lock = _take_lock(path)
        try:
            yield
        finally:
            with suppress(OSError):  # another user's, which the next writer takes as it is
                path.unlink()
            os.close(lock)

    @cached_property
    def _honours_conditions(self) -> bool:
        """Try whether the store rejects to write over an object that is there, or has another ETag (AWS does)."""
        self._call("put_object", Key=PROBE, Body=b"")
        return self._rejects({"IfNoneMatch": "*"}) and self._rejects({"IfMatch": f'"{"0" * 32}"'})

    def _rejects(self, condition: Mapping[str, Any]) -> bool:
        try:
            self._call("put_object", Key=PROBE, Body=b"", **condition)
        except ConflictError:
            return True
        except StoreError:  # it has no such conditions
            return False
        return False

    def list(self, prefix: str) -> list[str]:
        """Return the keys below ``prefix``, sorted."""
        keys: list[str] = []
        token: dict[str, Any] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, **token)
            keys += [item["Key"] for item in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return sorted(keys)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read_files(self, pointer: Pointer, limits: Limits = DATA_LIMITS) -> Iterator[tuple[str, bytes]]:
        """Yield what ``pointer`` names; see :func:`read_files`."""
        return read_files(self.get, pointer, limits)

    def verify(self, pointer: Pointer, limits: Limits = DATA_LIMITS) -> None:
        """Read every byte that ``pointer`` names; raises as :func:`read_files` does."""
        for _ in self.read_files(pointer, limits):
            pass

    def _call(self, operation: str, limit: int = 0, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = getattr(self.client, operation)(Bucket=self.name, **arguments)
            return answer | {"Body": self._read(answer, limit, arguments["Key"])} if "Body" in answer else answer
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _CHANGED:
                raise ConflictError(f"another write of {arguments.get('Key')} came first") from error
            if code in _MISSING:
                key = arguments.get("Key")
                what = f"bucket {self.name} lacks {key}" if key else f"there is no bucket {self.name}"
                raise MissingError(what) from error
            raise StoreError(f"the store rejects {operation} on bucket {self.name}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(f"the store does not answer: {error}") from error

    def _read(self, answer: Any, limit: int, key: str) -> bytes:
        try:
            size = answer.get("ContentLength")
            if size is None or size > limit:
                raise IntegrityError(f"{key} has {size} bytes, expected at most {limit}")
            content: bytes = answer["Body"].read()
            return content
        finally:
            answer["Body"].close()


def read_files(get: Get, pointer: Pointer, limits: Limits = DATA_LIMITS) -> Iterator[tuple[str, bytes]]:
    """Yield (relative path, bytes) of every file that ``pointer`` names, each checked against its md5.

    A pointer to a single file yields that file under the pointer's own path.

    Raises:
        MissingError: an object is not there.
        IntegrityError: an object's bytes have another md5, a folder's listing is none, or there is more than ``limits``
            allow.

    """
    left = limits.size
    for path, md5 in list_files(get, pointer, limits).items():
        content = _read_verified(get, md5, left)
        left -= len(content)
        yield path, content


def list_files(get: Get, pointer: Pointer, limits: Limits) -> dict[str, str]:
    """Return the md5 of every file that ``pointer`` names by its relative path; raises as :func:`read_files` does."""
    if not pointer.is_folder:
        return {pointer.path: pointer.md5}
    return read_listing(_read_verified(get, pointer.md5, MAX_LISTING_BYTES), limits)


def content_key(md5: str) -> str:
    """Return the key under which DVC stores the bytes with this md5."""
    return f"{DVC_PREFIX}/files/md5/{md5[:2]}/{md5[2:]}"


def _take_lock(path: Path) -> int:
    """Return the locked file at ``path``; who held it before deletes it, so that a file may be another by then."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDONLY | os.O_CREAT, 0o444)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
            os.close(lock)
        except (BlockingIOError, FileNotFoundError) as error:
            os.close(lock)
            if time.monotonic() > deadline:
                raise StoreError(
                    f"another process of this machine has been changing the registry for {LOCK_SECONDS:g} "
                    f"s; find it with: fuser {path}"
                ) from error
        time.sleep(0.02)


def _read_verified(get: Get, md5: str, limit: int) -> bytes:
    key = content_key(md5)
    content = get(key, limit)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5.removesuffix(".dir"):
        raise IntegrityError(f"{key} has md5 {found}: its {len(content)} bytes were altered")
    return content


@cache
def _descriptions() -> "Loader":
    """Return what reads boto3's descriptions of S3, which takes it 0.15 s, once a process."""
    from botocore.loaders import create_loader

    return create_loader()
