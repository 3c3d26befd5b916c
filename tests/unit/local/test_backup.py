"""A backup: what it holds, and what is rejected before anything is restored from it."""

import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from local import archive, backup
from local.archive import BackupError

PARTS = [("airflow.db", b"runs"), ("bucket/registry/current.dvc", b"champion"), ("env", b"SECRET=1")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backup.tar.gz"
    archive.write(path, iter(PARTS), "2026-01-01T00:00:00+00:00")
    return path


def test_a_backup_is_read_as_it_was_written_and_is_its_owners_alone(file: Path) -> None:
    assert [part for part in archive.read(file) if part[0] != archive.MANIFEST] == PARTS
    assert list(archive.check(file).parts) == [name for name, _ in PARTS]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> object:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        archive.write(tmp_path / "backup.tar.gz", (fail() for _ in PARTS), "now")  # type: ignore[misc]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [0, 1, 20, 100, -1, -9, -30])
def test_a_file_that_was_cut_short_is_rejected(file: Path, left: int) -> None:
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(BackupError, match="backup.tar.gz is not a backup, or was cut short"):
        archive.check(file)


def rewrite(file: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write the parts of a backup anew, each as ``change`` makes it, under the manifest of before."""
    parts = list(archive.read(file))
    with tarfile.open(file, "w:gz") as new:
        for name, content in parts:
            if (changed := change(name, content)) is not None:
                archive._add(new, name, changed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda name, content: None if name == archive.MANIFEST else content, "it has no manifest.json"),
        (lambda name, content: None if name == "env" else content, "was altered: env"),
        (lambda name, content: b"other" if name == "airflow.db" else content, "was altered: airflow.db"),
        (lambda name, content: b"{}" if name == archive.MANIFEST else content, "manifest.json of .* is broken: made"),
        (lambda name, content: b'{"format": 2}' if name == archive.MANIFEST else content, "reads formats up to 1"),
    ],
)
def test_what_the_manifest_does_not_confirm_is_rejected(
    file: Path, change: Callable[[str, bytes], bytes | None], told: str
) -> None:
    rewrite(file, change)
    with pytest.raises(BackupError, match=told):
        archive.check(file)


def test_a_database_is_copied_while_somebody_writes_to_it(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "one.db")) as writer:
        writer.execute("CREATE TABLE run (id)")
        writer.execute("INSERT INTO run VALUES (1)")
        writer.commit()
        writer.execute("INSERT INTO run VALUES (2)")
        (tmp_path / "copy.db").write_bytes(backup.read_database(tmp_path / "one.db"))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT * FROM run").fetchall() == [(1,)]
