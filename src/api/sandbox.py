"""A release is tried in a process of its own before the service loads it.

A graph can be made to take for ever, or all memory; here that ends the trial and nothing else.
"""

import base64
import json
import os
import resource
import subprocess
import sys

from src.config import PROJECT
from src.core.release import Files, Release
from src.errors import IntegrityError

CPU_SECONDS = 10  # a model of this table takes half of one, most of it imports; a graph without end is ended by this
SECONDS = 120  # that these may take on a machine that is busy with other things, for the trial has a low priority
MEMORY = 2 * 2**30  # bytes of address space, of which a model of this table takes a third


def try_release(files: Files) -> None:
    """Load a release and predict with it, elsewhere.

    Raises:
        IntegrityError: it is not complete, does not predict, or came to no end.

    """
    content = json.dumps({name: base64.b64encode(file).decode() for name, file in files.items()}).encode()
    environment = {"PATH": os.environ.get("PATH", os.defpath), "OPENBLAS_NUM_THREADS": "1"}
    command = ["nice", sys.executable, "-m", "src.api.sandbox"]  # requests come first
    try:
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, input=content, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise IntegrityError(f"its model was tried for {SECONDS} s, and came to no end") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1][:500] if lines and done.returncode > 0 else f"it ended by signal {-done.returncode}"
        raise IntegrityError(f"its trial failed: {why}")


def main() -> int:
    """Try the release that comes by standard input; returns the exit code."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = {name: base64.b64decode(file) for name, file in json.load(sys.stdin.buffer).items()}
    try:
        Release.load(files)
    except IntegrityError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
