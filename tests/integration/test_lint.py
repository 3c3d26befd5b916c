"""``make lint`` and the hook that runs it before a commit: clean here, and red on each kind of file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.config import PROJECT
from tests.support.gitlab import Project
from tests.support.services import BIN
from tests.support.throwaway import throwaway_checkout

FAULTS = {
    "src/fault.py": ("import os\n", "F401 'os' imported but unused"),
    "notebooks/A fault.ipynb": (
        json.dumps(
            {
                "cells": [
                    {
                        "cell_type": "code",
                        "execution_count": None,
                        "id": "a",
                        "metadata": {},
                        "outputs": [],
                        "source": ["import os"],
                    }
                ],
                "metadata": {"language_info": {"name": "python"}},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        ),
        "F401 'os' imported but unused",
    ),
    "docker/Dockerfile": ("FROM debian:latest\n", "DL3007"),
    "docker/api.Dockerfile": ("FROM debian\n", "DL3006"),
    "src/core/wrong_type.py": ('COUNT: int = "one"\n', "Incompatible types in assignment"),
    "src/core/unformatted.py": ("NAMES = ['one']\n", "--> src/core/unformatted.py"),
}


ARROWS = {
    "src/core/fault.py": ("import src.storage.bucket as found", "src.core.fault -> src.storage.bucket"),
    "src/core/network.py": ("import httpx as found", "src.core.network -> httpx"),
    "src/core/environment.py": ("import src.settings as found", "src.core.environment -> src.settings"),
    "src/storage/fault.py": ("import src.registry as found", "src.storage.fault -> src.registry"),
    "src/registry/fault.py": ("import src.pipeline as found", "src.registry.fault -> src.pipeline"),
    "src/pipeline/fault.py": ("import src.checker as found", "src.pipeline.fault -> src.checker"),
    "src/search/fault.py": ("import src.storage as found", "src.search.fault -> src.storage"),
    "src/api/fault.py": ("import src.core.dataset as found", "src.api.fault -> src.core.dataset"),
    "src/fault.py": ("import local.stack as found", "src.fault -> local.stack"),
    "src/newroom/__init__.py": ("found = 1", "src.newroom"),
    "front/fault.py": ("import src.errors as found", "front.fault -> src.errors"),
    "dags/fault.py": ("import tests.support as found", "dags.fault -> tests.support"),
}


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """Return a repository without many tests, so that there is less to read, whose types are known already."""
    with pytest.MonkeyPatch.context() as monkeypatch, throwaway_checkout() as checkout:
        monkeypatch.setenv("MYPY_CACHE_DIR", str(PROJECT / ".mypy_cache"))
        for room in ("unit", "e2e"):  # no other module imports theirs
            for file in (checkout.folder / "tests" / room).rglob("test_*.py"):
                file.unlink()
        project = Project(checkout)
        project.commit()
        yield project


@contextmanager
def fault(project: Project, file: str) -> Iterator[str]:
    """Add a faulty file for a while; gives the words that name its fault."""
    content, words = FAULTS[file]
    path = project.checkout.folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    project.git("add", "--all")
    yield words
    path.unlink()
    project.git("add", "--all")


@pytest.mark.parametrize("file", FAULTS)
def test_each_linter_stops_a_fault(project: Project, file: str) -> None:
    with fault(project, file) as words:
        done = project.checkout.make("lint")
    assert done.returncode != 0
    (line,) = [line for line in done.stdout.splitlines() if words in line]
    assert Path(file).name in line


def test_an_import_against_the_arrows_stops(project: Project) -> None:
    folder = project.checkout.folder
    for file, (line, _) in ARROWS.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(f'{line}\n\n__all__ = ["found"]\n')
    done = project.checkout.make("lint")
    for file in ARROWS:
        (folder / file).unlink()
    (folder / "src/newroom").rmdir()
    assert done.returncode != 0
    assert [words for _, words in ARROWS.values() if words not in done.stdout] == []


def pre_commit(folder: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    env = os.environ | {"PRE_COMMIT_HOME": str(home), "VENV": str(Path(sys.executable).parent.parent)}
    return subprocess.run(
        [str(BIN / "pre-commit"), "run", "--all-files"],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def test_the_hook_passes_here_and_stops_a_fault(project: Project, tmp_path: Path) -> None:
    done = pre_commit(project.checkout.folder, tmp_path)
    assert done.returncode == 0, done.stdout
    with fault(project, "src/fault.py") as words:
        done = pre_commit(project.checkout.folder, tmp_path)
    assert done.returncode != 0
    assert words in done.stdout
