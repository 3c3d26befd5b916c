"""The service's own way to read the bucket tells what boto3 would, in the same errors."""

import pytest

from src.errors import IntegrityError, MissingError, StoreError
from src.storage.bucket import Bucket
from src.storage.reader import Reader


def test_an_object_is_read_within_its_bound(bucket: Bucket) -> None:
    bucket.put("a/key", b"x" * 1000)
    reader = Reader.from_environment()
    assert reader.get("a/key", 1000) == b"x" * 1000
    with pytest.raises(IntegrityError, match="a/key has 1000 bytes, expected at most 999"):
        reader.get("a/key", 999)


def test_an_object_is_read_again_where_it_changed_alone(bucket: Bucket) -> None:
    bucket.put("key", b"before")
    reader = Reader.from_environment()
    content, etag = reader.get_if_changed("key", None, 10) or (b"", None)
    assert (content, etag) == (b"before", bucket.find_etag("key"))
    assert reader.get_if_changed("key", etag, 10) is None
    bucket.put("key", b"after")
    assert reader.get_if_changed("key", etag, 10) == (b"after", bucket.find_etag("key"))


def test_what_is_not_there_is_told_apart_from_a_bucket_that_is_not(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingError, match=f"bucket {bucket.name} lacks key"):
        Reader.from_environment().get("key", 10)
    monkeypatch.setenv("BUCKET", "no-such-bucket")
    with pytest.raises(StoreError, match="there is no bucket no-such-bucket"):
        Reader.from_environment().get("key", 10)


def test_a_store_that_rejects_or_is_away_is_told_in_the_same_words_each_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another secret")
    assert "403 Forbidden" in _tell_twice()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9/" in _tell_twice()


@pytest.mark.parametrize("address", ["nonsense", "http://", "http://a b", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_told_as_such(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
    with pytest.raises(StoreError, match="is no address"):
        Reader.from_environment()


def test_an_empty_variable_is_as_one_that_is_not_set(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("key", b"content")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "")
    assert Reader.from_environment().get("key", 10) == b"content"


def _tell_twice() -> str:
    told = []
    for _ in range(2):
        with pytest.raises(StoreError) as error:
            Reader.from_environment().get("key", 10)
        told.append(str(error.value))
    assert told[0] == told[1]
    return told[0]
