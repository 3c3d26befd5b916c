"""The first bytes of the bucket: what ``data.dvc`` names comes from ``local/bootstrap`` unless it is there already."""

from collections.abc import Callable

from dvc.exceptions import DvcException
from dvc.repo import Repo

from src.bucket import Bucket
from src.config import DATA_POINTER, PROJECT
from src.errors import MissingError, StackError
from src.pointer import Pointer


def publish_data(say: Callable[[str], None]) -> None:
    """Make sure that the bucket is there and holds the data; point the DVC remote ``bucket`` at it.

    Raises:
        MissingError: neither the bucket, nor DVC's cache, nor ``local/bootstrap`` has the bytes.

    """
    bucket = Bucket.from_environment()
    bucket.create()
    pointer = Pointer.from_yaml(DATA_POINTER.read_text())
    with Repo(str(PROJECT)) as repo:
        with repo.config.edit("local") as config:
            config["remote"] = {"bucket": {"url": bucket.dvc_url}}
        try:
            bucket.verify(pointer)
            say(f"data {pointer.md5[:12]}: in the bucket already")
            return
        except MissingError:
            say(f"data {pointer.md5[:12]}: copying from local/bootstrap to the bucket")
        _copy(repo)
    try:
        bucket.verify(pointer)
    except MissingError as error:
        hint = "push it from where it was made, or take a version that is there (git checkout data.dvc)"
        raise MissingError(f"the data that data.dvc names is nowhere to be found: {error}; {hint}") from error


def _copy(repo: Repo) -> None:
    try:
        repo.fetch(targets=[str(DATA_POINTER)], remote="bootstrap")
        repo.push(targets=[str(DATA_POINTER)], remote="bucket")
    except DvcException as error:
        raise StackError(f"DVC could not copy the data to the bucket: {error}") from error
