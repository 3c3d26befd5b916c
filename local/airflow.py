"""Airflow's commands, leaving no orphan: what they fork ends with them, even where they are killed.

``python -m local.airflow scheduler``
"""

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_forks_with_their_parent() -> None:
    """Let the kernel kill every process that this one forks from now on, and what those fork, with its parent.

    Only what the main thread forks: the kernel sends the signal when the thread ends that forked.
    """
    prctl = ctypes.CDLL(None).prctl
    parents: list[int] = []

    def remember() -> None:
        parents[:] = [os.getpid()] if threading.current_thread() is threading.main_thread() else []

    def bind() -> None:
        if not parents:
            return
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parents[0]:  # it ended before the kernel was told
            os._exit(1)

    os.register_at_fork(before=remember, after_in_child=bind)


if __name__ == "__main__":
    from airflow.__main__ import main

    if sys.platform == "linux":
        end_forks_with_their_parent()
    main()
