"""Pointers are DVC's own files, and never trusted with a path."""

import pytest

from src.config import DATA_POINTER
from src.core.pointer import Pointer
from src.errors import IntegrityError

MD5 = "0123456789abcdef0123456789abcdef.dir"


def test_a_pointer_written_by_dvc_survives_the_round_trip() -> None:
    text = DATA_POINTER.read_text()
    assert Pointer.from_yaml(text).to_yaml() == text


def test_the_id_is_the_start_of_the_md5() -> None:
    assert Pointer(MD5, "release").id == "0123456789ab"


def test_meta_is_kept_beside_the_content_and_never_shared() -> None:
    pointer = Pointer(MD5, "release", meta={"host": "a"})
    more = pointer.with_meta(run="1")
    assert Pointer.from_yaml(more.to_yaml()).meta == {"host": "a", "run": "1"}
    assert pointer.meta == {"host": "a"}


@pytest.mark.parametrize("md5", ["", "x" * 32, "../../etc/passwd", MD5 + "x", MD5.upper()])
def test_what_is_no_md5_is_rejected(md5: str) -> None:
    with pytest.raises(IntegrityError, match="md5"):
        Pointer(md5, "release")


@pytest.mark.parametrize("path", ["", "/etc", "../x", "a/../../x", "a\\b"])
def test_a_path_that_leaves_its_folder_is_rejected(path: str) -> None:
    with pytest.raises(IntegrityError, match="path"):
        Pointer(MD5, path)


@pytest.mark.parametrize("text", ["", "[]", "outs: []", "outs: 3", "outs: [{md5: 1}]", "{", b"\xff\xfe", "a: b"])
def test_what_is_no_pointer_is_rejected(text: str) -> None:
    with pytest.raises(IntegrityError):
        Pointer.from_yaml(text)
