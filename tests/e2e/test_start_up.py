"""``make up`` on a machine that is not ready: one line that says what is wrong and how to repair it."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from src.config import PROJECT
from tests.support.throwaway import Checkout, choose_ports, throwaway_checkout


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout:
        yield checkout


def rejection(output: str) -> str:
    """Return the one line that is not make's own or progress."""
    (line,) = [line for line in output.splitlines() if line and not line.startswith(("make: ***", "["))]
    return line


def test_a_busy_port_is_named(checkout: Checkout) -> None:
    ports = choose_ports(checkout)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports["FRONT_PORT"]))
        taken.listen()
        done = checkout.make("up")
    assert done.returncode != 0
    line = rejection(done.stdout)
    assert f"port {ports['FRONT_PORT']} is busy (taken by " in line
    assert f"pid {os.getpid()}); set another FRONT_PORT in .env" in line


def test_one_port_for_two_services_is_named(checkout: Checkout) -> None:
    ports = choose_ports(checkout)
    env = checkout.folder / ".env"
    env.write_text(env.read_text().replace(f"={ports['FRONT_PORT']}\n", f"={ports['API_PORT']}\n"))
    assert f"API_PORT and FRONT_PORT are both {ports['API_PORT']}" in rejection(checkout.make("up").stdout)


def test_a_wrong_key_is_named(checkout: Checkout) -> None:
    choose_ports(checkout)
    env = checkout.folder / ".env"
    env.write_text(env.read_text().replace("\nBUCKET=", "\nBUKCET="))
    line = rejection(checkout.make("up").stdout)
    assert "BUCKET is missing; BUKCET is unknown (did you mean BUCKET?)" in line


def test_a_missing_tool_is_named(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_ports(checkout)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "local.stack", "up"], cwd=checkout.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "make up: git is not installed; install it, then run: make up\n"


def test_a_missing_python_is_named(checkout: Checkout, tmp_path: Path) -> None:
    for tool in ("make", "sh", "grep", "touch", "test"):
        found = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, text=True, check=True)
        path = Path(found.stdout.strip())
        if path.is_absolute():
            (tmp_path / tool).symlink_to(path)
    done = subprocess.run(
        [tmp_path / "make", f"VENV={tmp_path / 'venv'}", "up"],
        cwd=checkout.folder,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "make: python3.11 is not installed; install Python 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_new_data_is_validated_before_anything_changes(checkout: Checkout) -> None:
    choose_ports(checkout)
    before = (checkout.folder / "data.dvc").read_bytes()
    bad = checkout.folder / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    done = checkout.make("data", f"CSV={bad}")
    assert done.returncode != 0
    assert "data: bad.csv: column 'fixed acidity' is missing" in done.stdout
    missing = checkout.make("data")
    assert "name one with: make data CSV=path" in missing.stdout
    assert (checkout.folder / "data.dvc").read_bytes() == before


def test_a_path_that_the_configuration_cannot_spell_is_named(checkout: Checkout, tmp_path: Path) -> None:
    folder = shutil.copytree(checkout.folder, tmp_path / "pro$ject", symlinks=True)
    command = [sys.executable, "-m", "local.stack", "up"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"make up: the path {folder} has a $ in it; move the project to one without\n"


def test_a_session_of_before_is_left_alone(checkout: Checkout) -> None:
    stranger = subprocess.Popen(["sleep", "100"], cwd=checkout.folder, start_new_session=True)
    session = checkout.folder / ".stack" / "session"
    session.parent.mkdir()
    session.write_text(str(stranger.pid))
    before = psutil.Process(stranger.pid).create_time() - 60
    os.utime(session, (before, before))
    try:
        assert checkout.make("down").stdout == "Nothing was running.\n"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_make_alone_lists_every_target_in_one_line_each(checkout: Checkout) -> None:
    lines = checkout.make().stdout.splitlines()
    text = (checkout.folder / "Makefile").read_text()
    targets = text.partition(".PHONY: ")[2].partition("\n")[0].split()
    assert [line.split()[1] for line in lines] == targets
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("", "preparing 3 packages"),
        (
            "Resolved 3 packages in 799ms\nDownloading onnx (17.0MiB)\nDownloading numpy (16.5MiB)\n Downloaded onnx\n",
            "downloading, 16 MB left: numpy",
        ),
        ("Downloading numpy (16.1MiB)\n Downloaded numpy\n", "unpacking 3 packages"),
    ],
)
def test_the_installation_says_what_is_left(tmp_path: Path, log: str, told: str) -> None:
    """What uv prints where it writes to a file, and the line that make makes of it."""
    (tmp_path / "install.log").write_text(log)
    rule = f"left: ; @awk -v total=3 '$(LEFT)' {tmp_path}/install.log"
    command = ["make", "--no-print-directory", f"--eval={rule}", "left"]
    assert subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout == f"{told}\n"
