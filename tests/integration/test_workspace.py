"""Bytes go to a real bucket through DVC and come back verified, or not at all."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from src.bucket import Bucket, content_key
from src.errors import IntegrityError, MissingError, StoreError
from src.pointer import Pointer
from src.workspace import open_workspace
from tests.conftest import new_bucket
from tests.services import BIN, Service


@pytest.fixture
def pushed(bucket: Bucket) -> Pointer:
    """Push a folder of two files."""
    with open_workspace(bucket) as workspace:
        folder = workspace.folder / "release"
        (folder / "deep").mkdir(parents=True)
        (folder / "a.txt").write_text("one")
        (folder / "deep" / "b.txt").write_text("two")
        (pointer,) = workspace.push(folder)
    return pointer


def listing(bucket: Bucket, pointer: Pointer) -> dict[str, str]:
    """Return the md5 of each file of a folder, by its path."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(bucket.get(content_key(pointer.md5)))}


def test_what_was_pushed_is_what_is_pulled(bucket: Bucket, pushed: Pointer) -> None:
    with open_workspace(bucket) as workspace:
        (folder,) = workspace.pull(pushed)
        assert (folder / "deep" / "b.txt").read_text() == "two"
    assert not folder.exists()
    assert dict(bucket.read_files(pushed)) == {"a.txt": b"one", "deep/b.txt": b"two"}


def test_several_pointers_of_one_name_do_not_collide(bucket: Bucket, pushed: Pointer) -> None:
    with open_workspace(bucket) as workspace:
        other = workspace.folder / "release"
        other.mkdir()
        (other / "a.txt").write_text("other")
        (second,) = workspace.push(other)
    with open_workspace(bucket) as workspace:
        texts = [(folder / "a.txt").read_text() for folder in workspace.pull(pushed, second)]
    assert texts == ["one", "other"]


def test_plain_dvc_pulls_what_the_pointer_names(bucket: Bucket, pushed: Pointer, tmp_path: Path) -> None:
    dvc = [str(BIN / "dvc")]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*dvc, "remote", "add", "-d", "bucket", bucket.dvc_url], cwd=tmp_path, check=True)
    (tmp_path / "current.dvc").write_text(pushed.with_meta(run="1").to_yaml())
    subprocess.run([*dvc, "pull", "-q", "current.dvc"], cwd=tmp_path, check=True)
    assert (tmp_path / "release" / "a.txt").read_text() == "one"


def test_altered_bytes_are_refused_by_name(bucket: Bucket, pushed: Pointer) -> None:
    key = content_key(listing(bucket, pushed)["a.txt"])
    bucket.put(key, b"0ne")
    with pytest.raises(IntegrityError, match=f"{key} has md5 .* altered"):
        bucket.verify(pushed)
    with open_workspace(bucket) as workspace, pytest.raises(IntegrityError, match=key):
        workspace.pull(pushed)


def test_missing_bytes_are_refused_by_name(bucket: Bucket, pushed: Pointer) -> None:
    key = content_key(listing(bucket, pushed)["a.txt"])
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    with open_workspace(bucket) as workspace, pytest.raises(MissingError, match=key):
        workspace.pull(pushed)


def test_a_push_over_altered_bytes_is_no_success(bucket: Bucket, pushed: Pointer) -> None:
    bucket.put(content_key(listing(bucket, pushed)["a.txt"]), b"0ne")
    with open_workspace(bucket) as workspace:
        folder = workspace.folder / "again"
        folder.mkdir()
        (folder / "a.txt").write_text("one")
        with pytest.raises(IntegrityError, match="altered"):
            workspace.push(folder)


def test_wrong_keys_are_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StoreError, match="refuses"), open_workspace(Bucket.from_environment()):
        pass


def test_a_store_that_goes_away_during_the_work_is_a_store_error(
    own_store: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_workspace(new_bucket(own_store, monkeypatch)) as workspace:
        (workspace.folder / "a.txt").write_text("one")
        own_store.stop()
        with pytest.raises(StoreError, match="push a.txt"):
            workspace.push(workspace.folder / "a.txt")


def test_nothing_is_left_behind(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_workspace(bucket) as workspace:
        (workspace.folder / "a.txt").write_text("one")
        workspace.push(workspace.folder / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(MissingError, match="there is no bucket nowhere"):
        Bucket("nowhere", bucket.client).check()


def test_more_keys_than_a_page_are_listed(bucket: Bucket) -> None:
    class SmallPages:
        """Forwards to the real client, asking for pages of two keys."""

        def list_objects_v2(self, **arguments: object) -> object:
            return bucket.client.list_objects_v2(**arguments, MaxKeys=2)

    for name in "abcde":
        bucket.put(f"list/{name}", b"")
    assert Bucket(bucket.name, SmallPages()).list("list/") == [f"list/{name}" for name in "abcde"]
