"""What a machine needs for ``make up`` and ``make test``: Python 3.11, git, make and a shell, as the README says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.config import PROJECT
from tests.support import tools
from tests.support.throwaway import throwaway_checkout
from tests.support.tools import needs

SHELL = (
    "awk",
    "bash",
    "cat",
    "cp",
    "dash",
    "env",
    "find",
    "grep",
    "ls",
    "mkdir",
    "printf",
    "rm",
    "sed",
    "sh",
    "sort",
    "touch",
    "uname",
    "xargs",
)
INSTALLED = ("chromium", "gitlab-ci-local")
ELSEWHERE = ("curl", "rsync")  # no package of ours carries them


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave nothing on PATH but Python 3.11, git, make, and what a shell comes with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3.11").symlink_to(sys.executable)
    for name in ("git", "make", *SHELL):
        if path := shutil.which(name):
            (folder / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def run_pytest(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=PROJECT, text=True, capture_output=True, check=False)


@needs(*INSTALLED)
def test_the_locked_packages_bring_every_tool_that_a_bare_machine_can_have(bare: Path) -> None:
    programs = [[str(tools.POSTGRESQL / name)] for name in ("initdb", "postgres", "pg_isready")]
    programs += [[tools.VALKEY], [tools.NODE], *(tools.find(name) or [] for name in INSTALLED)]
    environment = {name: str(value) for name, value in tools.browser_environment().items()}
    for program in programs:
        assert program[0].startswith(sys.prefix)
        done = subprocess.run([*program, "--version"], env=environment, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"\d+\.\d+", done.stdout)


def test_every_test_is_found_on_a_bare_machine(bare: Path) -> None:
    done = run_pytest("--collect-only")
    assert done.returncode == 0, done.stdout


def test_what_a_bare_machine_lacks_is_skipped_by_name_and_fails_where_nothing_may_be(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTHING_SKIPPED", raising=False)
    monkeypatch.delenv("GITLAB_CI", raising=False)
    assert not [name for name in ELSEWHERE if tools.find(name)]
    files = ("tests/integration/test_gitlab_ci.py", "tests/unit/core/test_pointer.py")
    done = run_pytest(*files)
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("not tested here: ")]
    assert re.fullmatch(rf"not tested here: \d+ of {files[0]}; install .*rsync", line)
    monkeypatch.setenv("NOTHING_SKIPPED", "1")
    assert run_pytest(*files).returncode == pytest.ExitCode.TESTS_FAILED
    assert run_pytest(files[1]).returncode == 0


@pytest.mark.parametrize("command", ["src.pipeline", "src.checker", "src.registry"])
def test_a_python_without_the_packages_is_told_which_one_has_them(bare: Path, command: str) -> None:
    python = Path(sys.base_prefix) / "bin" / "python3.11"
    done = subprocess.run([python, "-m", command], cwd=PROJECT, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{command} needs the project's packages; run: .venv/bin/python -m {command}\n"


def test_make_clean_deletes_nothing_before_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENV", ".venv")  # never the one that this test runs in
    with throwaway_checkout() as checkout:
        kept, state = checkout.folder / ".env", checkout.folder / ".stack"
        kept.write_text("API_PORT=1\n")
        state.mkdir()
        rejected = checkout.make("clean")
        assert rejected.returncode != 0
        assert "deletes: .stack .venv" in rejected.stdout
        assert "make clean YES=1" in rejected.stdout
        assert state.exists() and (checkout.folder / ".venv").exists()
        done = checkout.make("clean", "YES=1")
        assert done.returncode == 0, done.stdout
        assert re.search(r"this stays:.* \.env", done.stdout)
        assert kept.exists() and not state.exists() and not (checkout.folder / ".venv").is_symlink()
