"""Bytes go to a real bucket through DVC and come back verified, or not at all."""

import http.server
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from src.config import PROJECT, Limits
from src.core.pointer import Pointer
from src.errors import IntegrityError, MissingError, StoreError
from src.storage.bucket import Bucket, content_key
from src.storage.workspace import open_workspace
from tests.conftest import new_bucket
from tests.support.services import BIN, Service


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


def test_more_bytes_than_allowed_are_not_pulled(
    bucket: Bucket, pushed: Pointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.storage.workspace.DATA_LIMITS", Limits(files=2, size=5))
    with open_workspace(bucket) as workspace:
        with pytest.raises(IntegrityError, match="release has 6 bytes, expected at most 5"):
            workspace.pull(pushed)
        assert not list(workspace.folder.rglob("a.txt"))


def test_altered_bytes_are_rejected_by_name(bucket: Bucket, pushed: Pointer) -> None:
    key = content_key(listing(bucket, pushed)["a.txt"])
    bucket.put(key, b"0ne")
    with pytest.raises(IntegrityError, match=f"{key} has md5 .* altered"):
        bucket.verify(pushed)
    with open_workspace(bucket) as workspace, pytest.raises(IntegrityError, match=key):
        workspace.pull(pushed)


def test_missing_bytes_are_rejected_by_name(bucket: Bucket, pushed: Pointer) -> None:
    key = content_key(listing(bucket, pushed)["a.txt"])
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    with open_workspace(bucket) as workspace, pytest.raises(MissingError, match=key):
        workspace.pull(pushed)


@pytest.mark.parametrize("what", ["file", "listing"])
def test_a_push_repairs_altered_bytes(bucket: Bucket, pushed: Pointer, what: str) -> None:
    altered = content_key(listing(bucket, pushed)["a.txt"] if what == "file" else pushed.md5)
    bucket.put(altered, b"[]")
    with pytest.raises(IntegrityError):
        bucket.verify(pushed)
    with open_workspace(bucket) as workspace:
        folder = workspace.folder / "release"
        (folder / "deep").mkdir(parents=True)
        (folder / "a.txt").write_text("one")
        (folder / "deep" / "b.txt").write_text("two")
        assert workspace.push(folder) == [pushed]
    bucket.verify(pushed)


def test_wrong_keys_are_rejected(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StoreError, match="rejects"), open_workspace(Bucket.from_environment()):
        pass


def test_a_store_that_becomes_unreachable_during_the_work_is_a_store_error(
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


OPEN_AND_WAIT = """
import sys
from src.storage.bucket import Bucket
from src.storage.workspace import open_workspace

with open_workspace(Bucket.from_environment()) as workspace:
    print(workspace.folder, flush=True)
    sys.stdin.read()
"""


def open_elsewhere(temporary: Path) -> "subprocess.Popen[str]":
    """Open a workspace in another process, which prints its folder and ends with its input."""
    command = [sys.executable, "-c", OPEN_AND_WAIT]
    env = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.Popen(command, cwd=PROJECT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_a_killed_process_left_behind_is_swept_and_a_living_one_keeps_its_own(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("wine-of-somebody", "wine-new-born", "wine-new-dead"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / "wine-new-dead", (0, 0))
    with open_elsewhere(tmp_path) as killed, open_elsewhere(tmp_path) as alive:
        assert killed.stdout and alive.stdout and alive.stdin
        dead, living = (Path(process.stdout.readline().strip()) for process in (killed, alive) if process.stdout)
        killed.kill()
        killed.wait()
        assert dead.is_dir() and living.is_dir()
        with open_workspace(bucket) as workspace:
            assert not dead.exists()
            assert {path.name for path in tmp_path.iterdir()} == {
                living.name,
                workspace.folder.name,
                "wine-new-born",
                "wine-of-somebody",
            }
        alive.stdin.close()
        assert alive.wait() == 0
    assert {path.name for path in tmp_path.iterdir()} == {"wine-new-born", "wine-of-somebody"}


def test_an_answer_that_breaks_off_is_a_store_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), BreaksOff) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(StoreError, match="does not answer"):
            Bucket.from_environment().get("key")
        server.shutdown()


class BreaksOff(http.server.BaseHTTPRequestHandler):
    """Promises a thousand bytes and sends three."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    with pytest.raises(MissingError, match="there is no bucket nowhere"):
        Bucket("nowhere", bucket.client).check()


def test_more_keys_than_a_page_are_listed(bucket: Bucket) -> None:
    def ask_for_two(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2

    bucket.client.meta.events.register("provide-client-params.s3.ListObjectsV2", ask_for_two)
    for name in "abcde":
        bucket.put(f"list/{name}", b"")
    assert bucket.list("list/") == [f"list/{name}" for name in "abcde"]
