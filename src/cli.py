"""How every command of the project starts, reports an error and exits."""

import io
import os
import sys
from collections.abc import Callable

from src.errors import StackError
from src.settings import load_environment

INTERRUPTED = 130  # what shells return after Ctrl-C


def run(name: str, command: Callable[[], int | None]) -> int:
    """Run a command in the environment of ``.env``, and return its exit code: 1 for an error, which is one line.

    What a terminal cannot spell is printed as ``?``: no change may be followed by a failure to tell of it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        load_environment()
        code = command() or 0
        sys.stdout.flush()
        return code
    except StackError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who read the output has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
