"""Clients of other projects, in environments of their own: what they need does not fit the locked packages."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services import BIN

FOLDER = Path(sys.prefix) / "peers"


def install(*packages: str) -> Path:
    """Return the folder of programs of an environment with these packages, made once; skip the test without them."""
    folder = FOLDER / "-".join(packages).replace("[http]", "")
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            uv = [str(BIN / "uv"), "--quiet"]
            make = [*uv, "venv", "--clear", "--python", sys.executable, str(folder)]
            fill = [*uv, "pip", "install", "--python", str(folder / "bin" / "python"), *packages]
            for command in (make, fill):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    pytest.skip(f"install {' and '.join(packages)}: {done.stderr.strip()[-200:]}")
            (folder / "complete").touch()
    return folder / "bin"
