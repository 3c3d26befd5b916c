"""A whole stack in a temporary folder, on free ports: for the end-to-end test and the benchmark."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from src.config import PROJECT

PORTS = (
    *("S3_PORT", "API_PORT", "FRONT_PORT", "AIRFLOW_PORT", "MINIO_CONSOLE_PORT"),
    *("PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT"),
)


@dataclass(frozen=True)
class Checkout:
    """A copy of the project that shares nothing with it but the installed packages."""

    folder: Path

    def make(self, *arguments: str, seconds: float = 400) -> "subprocess.CompletedProcess[str]":
        """Run ``make`` there and return what it printed, standard error included."""
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )


@contextmanager
def throwaway_checkout(name: str = "project") -> Iterator[Checkout]:
    """Copy the project to a folder of that name; stop what was started there and delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="wine-stack-") as parent:
        checkout = Checkout(Path(parent).resolve() / name)
        copy_project(checkout.folder)
        (checkout.folder / ".venv").symlink_to(sys.prefix)
        subprocess.run(["git", "init", "--quiet", "--initial-branch", "develop"], cwd=checkout.folder, check=True)
        try:
            yield checkout
        finally:
            if (checkout.folder / ".stack").exists():
                checkout.make("down")


def choose_ports(checkout: Checkout) -> dict[str, int]:
    """Write a ``.env`` like the first ``make up`` does, but for free ports, and return these."""
    with ExitStack() as stack:
        probes = {key: stack.enter_context(socket.socket()) for key in PORTS}
        for probe in probes.values():
            probe.bind(("127.0.0.1", 0))
        ports = {key: probe.getsockname()[1] for key, probe in probes.items()}
    write = "from local.env import write_env; write_env()"
    subprocess.run([sys.executable, "-c", write], cwd=checkout.folder, check=True)
    env = checkout.folder / ".env"
    lines = (line.partition("=")[0] for line in env.read_text().splitlines())
    filled = zip(lines, env.read_text().splitlines(), strict=True)
    env.write_text("".join(f"{key}={ports[key]}\n" if key in ports else f"{line}\n" for key, line in filled))
    return ports


def copy_project(folder: Path) -> None:
    """Copy what git tracks, or would track, into a new folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for file in listed.split("\0"):
        if file and (PROJECT / file).is_file():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / file, target)
