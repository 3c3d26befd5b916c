"""A merge request's pipeline on this machine: ``gitlab-ci-local`` reads ``.gitlab-ci.yml`` and runs its jobs."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from src.config import PROJECT
from tests.support import tools
from tests.support.throwaway import Checkout

MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
PUSH = {"CI_PIPELINE_SOURCE": "push"}
QUICK = {  # what keeps a job short here: installed packages, known types, and one module of tests, which reaches little
    "VENV": str(Path(sys.executable).parent.parent),
    "MYPY_CACHE_DIR": str(PROJECT / ".mypy_cache"),
    "TESTS": "-n 0 tests/unit/core/test_pointer.py",
    "LEAST": "0",
}


@dataclass(frozen=True)
class Outcome:
    """How a pipeline ended: its exit code, the jobs that started, those that failed, and what was printed."""

    code: int
    started: set[str]
    failed: set[str]
    output: str


@dataclass(frozen=True)
class Project:
    """A checkout on branch ``develop`` of a project whose default branch is ``main``."""

    checkout: Checkout

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.checkout.folder, check=True, capture_output=True)

    def commit(self) -> None:
        """Make the folder a repository, as a clone from GitLab would be."""
        self.git("remote", "add", "origin", "git@gitlab.example.org:team/wine.git")
        self.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A change")
        self.git("update-ref", "refs/remotes/origin/main", "HEAD")  # what a merge request's changes are told from

    def run(self, event: dict[str, str], *arguments: str) -> Outcome:
        """Run the pipeline that ``event`` starts, with the environment's bucket as its CI/CD variables."""
        names = ("BUCKET", "TRUSTED_KEYS", "AWS_")
        bucket = {name: value for name, value in os.environ.items() if name.startswith(names)}
        how = ("--force-shell-executor", "--shell-isolation", "--no-artifacts-to-source")
        output = self.ask(event | QUICK | bucket, *how, *arguments)
        lines = output.stdout.splitlines()
        started = {found[1] for line in lines if (found := re.match(r"(\w+) +starting ", line))}
        failed = {found[1] for line in lines if (found := re.match(r" *FAIL +(\w+)", line))}
        return Outcome(output.returncode, started, failed, output.stdout)

    def ask(self, variables: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run ``gitlab-ci-local``; returns what it printed."""
        runner = tools.find("gitlab-ci-local")
        assert runner, "gitlab-ci-local is not installed"
        command = [*runner, *arguments, "--home", str(self.checkout.folder.parent), "--no-color"]
        for name, value in variables.items():
            command += ["--variable", f"{name}={value}"]
        own = {"GCL_IGNORE_PREDEFINED_VARS": "CI_PIPELINE_SOURCE"}
        return subprocess.run(
            command,
            cwd=self.checkout.folder,
            env={name: value for name, value in os.environ.items() if name != "SIGNING_KEY"} | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )

    def artifact(self, job: str, name: str) -> str:
        return (self.checkout.folder / ".gitlab-ci-local" / "artifacts" / job / name).read_text()
