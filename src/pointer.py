"""A pointer: a ``.dvc`` file in DVC's own format that names a file or folder by the md5 of its bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from src.errors import IntegrityError

_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


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
        if not _MD5.fullmatch(self.md5):
            raise IntegrityError(f"pointer names md5 {self.md5!r}, expected 32 hex digits and '.dir' for a folder")
        check_relative(self.path)

    @property
    def id(self) -> str:
        """Return the first 12 hex digits of the md5: a release's name."""
        return self.md5[:12]

    @property
    def is_folder(self) -> bool:
        """Say whether the md5 is that of a folder's listing."""
        return self.md5.endswith(".dir")

    def with_meta(self, **meta: Any) -> "Pointer":
        """Return a copy whose ``meta`` holds ``meta`` too."""
        return replace(self, meta={**self.meta, **meta})

    def to_dict(self) -> dict[str, Any]:
        """Return the ``.dvc`` file's content as plain types, fit for JSON, YAML and XCom."""
        sizes = {"size": self.size, "nfiles": self.nfiles}
        known = {name: value for name, value in sizes.items() if value is not None}
        out = {"md5": self.md5, **known, "hash": "md5", "path": self.path}  # in DVC's order
        return {"outs": [out]} | ({"meta": dict(self.meta)} if self.meta else {})

    def to_yaml(self) -> str:
        """Return the text of the ``.dvc`` file."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_dict(cls, content: Any) -> "Pointer":
        """Read what :meth:`to_dict` or DVC wrote.

        Raises:
            IntegrityError: it is not a ``.dvc`` file with one output.

        """
        try:
            (out,) = content["outs"]
            return cls(out["md5"], out["path"], out.get("size"), out.get("nfiles"), content.get("meta") or {})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IntegrityError(f"not a .dvc file with one output: {str(content)[:200]!r}") from error

    @classmethod
    def from_yaml(cls, text: str | bytes) -> "Pointer":
        """Read the text of a ``.dvc`` file.

        Raises:
            IntegrityError: it is not a ``.dvc`` file with one output.

        """
        try:
            return cls.from_dict(yaml.safe_load(text))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise IntegrityError(f"not a .dvc file: {str(text[:200])!r}") from error


def check_relative(path: str) -> None:
    """Make sure that ``path`` stays inside the folder it is joined to.

    Raises:
        IntegrityError: it is empty, absolute or climbs out.

    """
    parts = PurePosixPath(path)
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise IntegrityError(f"pointer names path {path!r}, expected one that stays inside its folder")
