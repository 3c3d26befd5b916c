"""``make lint`` and the hook that runs it before a commit: clean here, and red on each kind of file."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.config import PROJECT
from tests.support.gitlab import Project
from tests.support.services import BIN
from tests.support.throwaway import throwaway_checkout

LINTERS = 6  # flake8, the same of notebooks, hadolint, import-linter, mypy and ruff
FAULTS = {
    "src/unused.py": ("import os\n", "F401 'os' imported but unused"),
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
def faults(project: Project, files: Mapping[str, str]) -> Iterator[None]:
    """Add faulty files for a while."""
    written = [project.checkout.folder / file for file in files]
    rooms = {path.parent for path in written if not path.parent.exists()}
    for path, content in zip(written, files.values(), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    project.git("add", "--all")
    yield
    for path in written:
        path.unlink()
    for room in rooms:
        shutil.rmtree(room)
    project.git("add", "--all")


def test_each_linter_stops_its_faults(project: Project) -> None:
    against_the_arrows = {file: f'{line}\n\n__all__ = ["found"]\n' for file, (line, _) in ARROWS.items()}
    with faults(project, {file: content for file, (content, _) in FAULTS.items()} | against_the_arrows):
        told = project.checkout.make("--ignore-errors", "lint").stdout.splitlines()
    for file, (_, words) in FAULTS.items():
        assert [line for line in told if words in line and Path(file).name in line], file
    assert [words for _, words in ARROWS.values() if not any(words in line for line in told)] == []
    stopped = [line for line in told if re.search(r": lint\] Error \d+ \(ignored\)$", line)]
    assert len(stopped) == LINTERS, stopped


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
    content, words = FAULTS["src/unused.py"]
    with faults(project, {"src/unused.py": content}):
        done = pre_commit(project.checkout.folder, tmp_path)
    assert done.returncode != 0
    assert words in done.stdout
