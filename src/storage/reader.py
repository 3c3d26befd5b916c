"""The bucket through obstore, for a service that reads releases and logs predictions: a quarter of boto3's memory."""

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import HttpUrl

from src.errors import IntegrityError, MissingError, StoreError
from src.settings import StoreSettings, read_settings

if TYPE_CHECKING:
    from obstore.store import S3Store

TIMES = re.compile(r" in [\d.]+[a-zµ]+(, after .*?retry_timeout: \S+)? ")  # differ from one failure to the next


@dataclass(frozen=True)
class Reader:
    """One bucket; every method raises :class:`StoreError` when the store is unreachable or rejects."""

    name: str
    store: "S3Store"

    @classmethod
    def from_environment(cls) -> "Reader":
        """Return the bucket that ``BUCKET`` and the ``AWS_*`` variables name; nothing is asked of it yet."""
        from obstore.store import S3Store  # for which a service that starts from its last release need not wait

        name = read_settings(StoreSettings).bucket
        region = _find("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
        address = _find("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") or f"https://s3.{region}.amazonaws.com"
        try:
            address = str(HttpUrl(address)).rstrip("/")  # obstore panics at what is no address
        except ValueError as error:
            raise StoreError(f"the AWS_* variables do not name a store: {address!r} is no address") from error
        store = S3Store(
            name,
            aws_endpoint_url_s3=address,
            region=region,
            client_options={"allow_http": True, "connect_timeout": "3s", "read_timeout": "15s", "timeout": "60s"},
            retry_config={"max_retries": 1},
        )
        return cls(name, store)

    def get(self, key: str, limit: int) -> bytes:
        """Return an object's bytes.

        Raises:
            MissingError: there is no such object.
            IntegrityError: it has more than ``limit`` bytes.

        """
        content, _ = self.get_if_changed(key, None, limit) or (b"", None)
        return content

    def get_if_changed(self, key: str, etag: str | None, limit: int) -> tuple[bytes, str | None] | None:
        """Return an object's bytes and ETag, or None where it still has ``etag``; raises as :meth:`get` does."""
        from obstore.exceptions import BaseError, NotModifiedError

        try:
            answer = self.store.get(key, options={"if_none_match": etag} if etag else {})
            if (size := answer.meta["size"]) > limit:
                raise IntegrityError(f"{key} has {size} bytes, expected at most {limit}")
            return bytes(answer.bytes()), answer.meta["e_tag"]
        except NotModifiedError:
            return None
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise StoreError(f"there is no bucket {self.name}") from error
            raise MissingError(f"bucket {self.name} lacks {key}") from error
        except (BaseError, OSError) as error:
            raise _tell(error) from error

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        from obstore.exceptions import BaseError

        try:
            self.store.put(key, content)
        except (BaseError, OSError) as error:
            raise _tell(error) from error

    def list(self, prefix: str) -> list[str]:
        """Return the keys below ``prefix``, sorted."""
        from obstore.exceptions import BaseError

        folder = prefix.rpartition("/")[0]  # obstore lists whole folders
        try:
            pages = self.store.list(folder or None)
            return sorted(one["path"] for page in pages for one in page if one["path"].startswith(prefix))
        except (BaseError, OSError) as error:
            raise _tell(error) from error


def _tell(error: Exception) -> StoreError:
    told = TIMES.sub(" ", str(error).partition("\n")[0])
    return StoreError(f"the store does not answer, or rejects: {told}")


def _find(*names: str) -> str | None:
    """Return the first of these variables that holds anything."""
    return next(filter(None, map(os.environ.get, names)), None)
