"""A pointer: a ``.dvc`` file in DVC's own format that names a file or folder by the md5 of its bytes.

Pointers and the listings of folders come from the bucket, where others may write: each is bounded, then parsed, then
checked, before anything is made of it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from src.config import MAX_POINTER_BYTES, Limits
from src.errors import IntegrityError

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNREADABLE = (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError)
ID_LENGTH = 12  # hex digits of the md5
META_DEPTH = 16  # a signature takes 5


@dataclass(frozen=True)
class Pointer:
    """Names bytes by content.

    ``md5`` ends in ``.dir`` for a folder, ``size`` is in bytes, ``path`` is the name that DVC gives the file or
    folder beside the pointer, and ``meta`` holds what is not content: who made it, when and where.
    """

    md5: str
    path: str
    size: int | None = None
    nfiles: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_md5(self.md5)
        if len(check_relative(self.path).parts) != 1:
            raise IntegrityError(f"pointer names path {self.path[:100]!r}, expected the name of a file or folder")

    @property
    def id(self) -> str:
        """Return the first 12 hex digits of the md5: a release's name."""
        return self.md5[:ID_LENGTH]

    @property
    def is_folder(self) -> bool:
        """Say whether the md5 is that of a folder's listing."""
        return self.md5.endswith(".dir")

    def with_meta(self, **meta: Any) -> "Pointer":
        """Return a copy whose ``meta`` holds ``meta`` too."""
        return replace(self, meta={**self.meta, **meta})

    def to_out(self) -> dict[str, Any]:
        """Return what names the bytes, without ``meta``: the one output of the ``.dvc`` file."""
        sizes = {"size": self.size, "nfiles": self.nfiles}
        known = {name: value for name, value in sizes.items() if value is not None}
        return {"md5": self.md5, **known, "hash": "md5", "path": self.path}  # in DVC's order

    def to_dict(self) -> dict[str, Any]:
        """Return the ``.dvc`` file's content as plain types, fit for JSON, YAML and XCom."""
        return {"outs": [self.to_out()]} | ({"meta": dict(self.meta)} if self.meta else {})

    def to_yaml(self) -> str:
        """Return the text of the ``.dvc`` file."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_dict(cls, content: Any) -> "Pointer":
        """Read what :meth:`to_dict` or DVC wrote.

        Raises:
            IntegrityError: it is not a ``.dvc`` file with one output.

        """
        try:
            (out,) = content["outs"]
            md5, path, size, nfiles = out["md5"], out["path"], out.get("size"), out.get("nfiles")
            meta = content.get("meta") or {}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError("not a .dvc file with one output, which has an md5 and a path") from error
        if not isinstance(md5, str) or not isinstance(path, str):
            raise IntegrityError("not a .dvc file: its md5 and path must be texts")
        if any(number is not None and not _is_count(number) for number in (size, nfiles)):
            raise IntegrityError("not a .dvc file: its size and nfiles must be whole numbers, from 0 to 2 ** 63")
        return cls(md5, path, size, nfiles, _plain(meta))

    @classmethod
    def from_out(cls, out: Mapping[str, Any]) -> "Pointer":
        """Read what :meth:`to_out` made; raises as :meth:`from_dict` does."""
        return cls.from_dict({"outs": [out]})

    @classmethod
    def from_yaml(cls, text: str | bytes) -> "Pointer":
        """Read the text of a ``.dvc`` file.

        Raises:
            IntegrityError: it is too long, or not a ``.dvc`` file with one output.

        """
        if len(text) > MAX_POINTER_BYTES:
            raise IntegrityError(f"not a .dvc file: {len(text)} bytes, expected at most {MAX_POINTER_BYTES}")
        try:
            content = yaml.load(text, _PlainLoader)
        except _UNREADABLE as error:
            raise IntegrityError(f"not a .dvc file: {text[:100]!r}") from error
        return cls.from_dict(content)


@dataclass(frozen=True)
class Split:
    """The pointers to the table's two parts: the rows that a model learns from, and those that are held out."""

    train: Pointer
    test: Pointer

    def to_dict(self) -> dict[str, Any]:
        """Return both pointers as plain types, fit for XCom."""
        return {"train": self.train.to_dict(), "test": self.test.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Split":
        """Read what :meth:`to_dict` made."""
        return cls(Pointer.from_dict(content["train"]), Pointer.from_dict(content["test"]))


def read_listing(content: bytes, limits: Limits) -> dict[str, str]:
    """Return the files of a folder, md5 by relative path, from the bytes that its pointer's md5 names.

    Raises:
        IntegrityError: it is not DVC's listing of at most ``limits.files`` files that stay inside their folder.

    """
    try:
        entries = json.loads(content)
        files = {entry["relpath"]: entry["md5"] for entry in entries}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError("the listing of a folder is not DVC's: expected relpath and md5 of each file") from error
    if len(files) > limits.files:
        raise IntegrityError(f"the listing of a folder names {len(files)} files, expected at most {limits.files}")
    if len(files) < len(entries):
        raise IntegrityError("the listing of a folder names a file twice")
    folders = {parent for path in files for parent in check_relative(path).parents}
    for path, md5 in files.items():
        _check_md5(md5)
        if md5.endswith(".dir") or PurePosixPath(path) in folders:
            raise IntegrityError(f"the listing of a folder has {path[:100]!r} as a file and as a folder")
    return files


def check_relative(path: str) -> PurePosixPath:
    """Return ``path``, which stays inside the folder that it is joined to.

    Raises:
        IntegrityError: it is empty, absolute, climbs out, or is spelt in a way that only hides where it leads.

    """
    parts = PurePosixPath(path) if isinstance(path, str) else PurePosixPath()
    climbs = parts.is_absolute() or ".." in parts.parts or str(parts) != path
    if not parts.parts or climbs or "\\" in path or _CONTROL.search(path):
        raise IntegrityError(f"pointer names path {str(path)[:100]!r}, expected one that stays inside its folder")
    return parts


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, by which a few bytes would unfold into gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases have no place in a .dvc file")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """YAML that DVC reads as it was meant: what YAML 1.2 takes for a number, and PyYAML does not, is quoted as text."""


_NUMBER = re.compile(r"(?:[-+]?[0-9._]+(?:[eE][-+]?[0-9]+)?|[-+]?0[box][0-9a-fA-F_]+)$")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def _check_md5(md5: Any) -> None:
    if not isinstance(md5, str) or not _MD5.fullmatch(md5):
        raise IntegrityError(f"pointer names md5 {str(md5)[:100]!r}, expected 32 hex digits and '.dir' for a folder")


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _depth(value: Any, most: int = META_DEPTH) -> int:
    """Return how deep lists and mappings are nested, or that it is more than ``most``."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(one, most - 1) for one in inner), default=0) if most >= 0 else 1


def _plain(meta: Any) -> dict[str, Any]:
    """Return ``meta`` as JSON can spell it, a date as its text."""
    if not isinstance(meta, dict):
        raise IntegrityError(f"the pointer's meta is a {type(meta).__name__}, expected names and values")
    if _depth(meta) > META_DEPTH:
        raise IntegrityError(f"the pointer's meta is nested deeper than {META_DEPTH}")
    try:
        text = json.dumps(meta, default=str, allow_nan=False, ensure_ascii=False)
        text.encode()
        plain: dict[str, Any] = json.loads(text)
        return plain
    except (TypeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"the pointer's meta cannot be written as JSON: {error}") from error
