"""How every command of the project starts, reports an error and exits."""

import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable

from src.errors import StackError
from src.settings import load_environment

FULL = (errno.ENOSPC, errno.EDQUOT)
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
    except OSError as error:
        if error.errno not in FULL:
            raise
        disk = error.filename or tempfile.gettempdir()
        print(f"{name}: the disk of {disk} is full; free some space, then try again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
