"""The bucket through boto3: single objects, and verified reads of what DVC stored there."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from src.config import StoreSettings, read_settings
from src.errors import IntegrityError, MissingError, StoreError
from src.pointer import Pointer, check_relative

DVC_PREFIX = "dvc"
_MISSING = {"NoSuchKey", "404", "NotFound"}
_UNCHANGED = {"304", "NotModified"}


@dataclass(frozen=True)
class Bucket:
    """One bucket; every method raises :class:`StoreError` when the store is away or refuses."""

    name: str
    client: Any

    @classmethod
    def from_environment(cls) -> "Bucket":
        """Return the bucket that ``BUCKET`` and the ``AWS_*`` variables name; nothing is asked of it yet."""
        config = Config(connect_timeout=3, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 2})
        name = read_settings(StoreSettings).bucket
        try:
            return cls(name, boto3.Session().client("s3", config=config))
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
            elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self._call("create_bucket", **({} if region == "us-east-1" else elsewhere))  # as AWS wants it

    def check(self) -> None:
        """Make sure that the store answers and has the bucket, before slower clients find out.

        Raises:
            MissingError: there is no such bucket.

        """
        self._call("head_bucket")

    def get(self, key: str) -> bytes:
        """Return an object's bytes.

        Raises:
            MissingError: there is no such object.

        """
        return self._call("get_object", Key=key)["Body"]

    def get_if_changed(self, key: str, etag: str | None) -> tuple[bytes, str] | None:
        """Return an object's bytes and ETag, or None where it still has ``etag``.

        Raises:
            MissingError: there is no such object.

        """
        condition = {"IfNoneMatch": etag} if etag else {}
        answer = self._call("get_object", Key=key, **condition)
        return (answer["Body"], answer["ETag"]) if answer else None

    def put(self, key: str, content: bytes) -> None:
        """Write an object and read it back.

        Raises:
            IntegrityError: the store holds something else now.

        """
        self._call("put_object", Key=key, Body=content)
        if self.get(key) != content:
            raise IntegrityError(f"{self.name}/{key} does not read back as it was written")

    def list(self, prefix: str) -> list[str]:
        """Return the keys below ``prefix``, sorted."""
        keys: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = self._call("list_objects_v2", Prefix=prefix, **token)
            keys += [item["Key"] for item in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return sorted(keys)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def read_files(self, pointer: Pointer) -> Iterator[tuple[str, bytes]]:
        """Yield what ``pointer`` names; see :func:`read_files`."""
        return read_files(self.get, pointer)

    def verify(self, pointer: Pointer) -> None:
        """Read every byte that ``pointer`` names; raises as :func:`read_files` does."""
        for _ in self.read_files(pointer):
            pass

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            answer = getattr(self.client, operation)(Bucket=self.name, **arguments)
            return answer | {"Body": answer["Body"].read()} if "Body" in answer else answer
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _UNCHANGED:
                return None
            if code in _MISSING:
                key = arguments.get("Key")
                what = f"bucket {self.name} lacks {key}" if key else f"there is no bucket {self.name}"
                raise MissingError(what) from error
            raise StoreError(f"the store refuses {operation} on bucket {self.name}: {error}") from error
        except BotoCoreError as error:
            raise StoreError(f"the store does not answer: {error}") from error


def read_files(get: Callable[[str], bytes], pointer: Pointer) -> Iterator[tuple[str, bytes]]:
    """Yield (relative path, bytes) of every file that ``pointer`` names, each checked against its md5.

    ``get`` returns an object's bytes by its key in the bucket. A pointer to a single file yields that file under the
    pointer's own path.

    Raises:
        MissingError: an object is not there.
        IntegrityError: an object's bytes have another md5.

    """
    content = _read_verified(get, pointer.md5)
    if not pointer.is_folder:
        yield pointer.path, content
        return
    for entry in json.loads(content):
        check_relative(entry["relpath"])
        yield entry["relpath"], _read_verified(get, entry["md5"])


def content_key(md5: str) -> str:
    """Return the key under which DVC stores the bytes with this md5."""
    return f"{DVC_PREFIX}/files/md5/{md5[:2]}/{md5[2:]}"


def _read_verified(get: Callable[[str], bytes], md5: str) -> bytes:
    key = content_key(md5)
    content = get(key)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5.removesuffix(".dir"):
        raise IntegrityError(f"{key} has md5 {found}: its {len(content)} bytes were altered")
    return content
