"""Pointers are DVC's own files, and never trusted with a path."""

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from src.config import DATA_POINTER, Limits
from src.core.pointer import Pointer, check_relative, read_listing
from src.errors import IntegrityError

MD5 = "0123456789abcdef0123456789abcdef.dir"
FEW = Limits(files=2, size=100)
QUICK = settings(deadline=None, max_examples=100, derandomize=True)
WORDS = st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=12)
NAMES = WORDS.filter(lambda name: name not in (".", ".."))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
POINTERS = st.builds(
    Pointer,
    md5=st.from_regex(r"[0-9a-f]{32}(\.dir)?", fullmatch=True),
    path=NAMES,
    size=st.none() | st.just(0) | st.integers(1, 2**63 - 1),
    nfiles=st.none() | st.just(0) | st.integers(1, 2**63 - 1),
    meta=st.dictionaries(WORDS, PLAIN, max_size=3),
)
# Parts that climb, hide where they lead, or are harmless: of any of them paths are made.
PARTS = st.sampled_from(["..", ".", "", "a", "b", "a\\b", "C:", "\n", "\x00", "~", "..."]) | st.text(max_size=3)
PATHS = st.lists(PARTS, max_size=4).map("/".join)
# Most entries are good, so that a listing often has one fault alone.
ENTRIES = st.fixed_dictionaries(
    {
        "relpath": st.sampled_from(["a", "a/b", "b", "c", "../c"]),
        "md5": st.sampled_from([*[MD5[:32]] * 4, MD5, "x"]),
    }
)


def test_a_pointer_written_by_dvc_survives_the_round_trip() -> None:
    text = DATA_POINTER.read_text()
    assert Pointer.from_yaml(text).to_yaml() == text


@QUICK
@given(POINTERS)
def test_every_pointer_survives_the_round_trip(pointer: Pointer) -> None:
    assert Pointer.from_yaml(pointer.to_yaml()) == pointer
    assert Pointer.from_dict(json.loads(json.dumps(pointer.to_dict()))) == pointer


def stays_inside(path: str) -> bool:
    """Say whether a path is spelt as it leads, to a place below the folder that it is joined to."""
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and not any(c == "\\" or c < " " or c == "\x7f" for c in path)


@QUICK
@given(PATHS)
def test_a_path_passes_where_it_stays_inside_and_nowhere_else(path: str) -> None:
    if stays_inside(path):
        assert check_relative(path) == PurePosixPath(path)
    else:
        with pytest.raises(IntegrityError):
            check_relative(path)


@QUICK
@given(st.lists(ENTRIES, max_size=4))
@example([{"relpath": path, "md5": MD5[:32]} for path in ("a", "a/b")])
@example([{"relpath": path, "md5": MD5[:32]} for path in ("a", "b", "c")])
def test_what_a_listing_names_can_be_written_below_one_folder(entries: list[dict[str, Any]]) -> None:
    try:
        files = read_listing(json.dumps(entries).encode(), FEW)
    except IntegrityError:
        return
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    assert [(entry["relpath"], entry["md5"]) for entry in entries] == list(files.items())
    assert len(files) <= FEW.files
    assert all(stays_inside(path) and md5 == MD5[:32] and path not in folders for path, md5 in files.items())


@QUICK
@given(PLAIN | st.lists(PLAIN), st.binary())
def test_no_listing_fails_but_by_being_rejected(content: Any, noise: bytes) -> None:
    for text in (json.dumps(content).encode(), noise):
        try:
            read_listing(text, FEW)
        except IntegrityError:
            pass


@QUICK
@given(st.one_of(st.from_regex(r"[0-9][0-9e]{10}[0-9]", fullmatch=True), st.from_regex(r"[-+0-9._eoxb]{1,12}")))
@example("10e999999999")
@example("0o17")
def test_dvc_reads_each_text_of_meta_as_that_text(text: str) -> None:
    pointer = Pointer("a" * 32, "release", meta={"git_diff": text})
    assert parse_yaml(pointer.to_yaml(), "a.dvc")["meta"]["git_diff"] == text
    assert Pointer.from_yaml(pointer.to_yaml()) == pointer


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
