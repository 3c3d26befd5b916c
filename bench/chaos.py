"""``make chaos``: faults at random moments on a stack of its own, counted in one table; exits 1 where one did harm.

``ROUNDS=0.1 make chaos`` does a tenth of each count, and ``ONLY='store|scheduler'`` the faults of such names alone. The
stack is in a folder with a space in its name, in LANG=C.
"""

import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench import hostile, kills
from bench.kills import Target
from src.config import PARAMETERS, PROJECT
from tests.support.newcomer import WORSE_C, set_c
from tests.support.services import eventually
from tests.support.throwaway import Checkout, choose_ports, throwaway_checkout

FAULTS: dict[str, tuple[int, Callable[[Target], None]]] = {
    "kill -9: a promotion": (65, kills.kill_promotion),
    "kill -9: a daily run in the shell": (25, kills.kill_pipeline),
    "kill -9: the API while it keeps a release": (45, kills.kill_api),
    "kill -9: the store during a write": (40, kills.kill_store),
    "kill -9: a DAG task": (10, kills.kill_task),
    "kill -9: the scheduler": (8, kills.kill_scheduler),
    "kill -9: supervisord": (4, kills.kill_supervisord),
    "kill -9: everything at once": (3, kills.kill_everything),
    "two daily runs at once": (10, kills.run_twice),
    "two make up at once": (5, kills.start_twice),
    "a clock that jumps": (10, kills.jump_clock),
}
DISKS = ("tests/integration/test_api_log.py", "tests/integration/test_pipeline.py", "tests/e2e/test_crashes.py")
SUITES = {  # what the tests do already, by what of it is counted
    "schemathesis over each operation": (30, ("tests/integration/test_openapi.py",)),
    "requests through changes": (100_000, ("tests/integration/test_api_changes.py",)),
    "changes of the registry in pairs": (200, ("tests/integration/test_two_at_once.py", "-k", "of_two_at_once")),
    "a worker rolled under load": (1, ("tests/integration/test_api_workers.py", "-k", "told_to_end")),
    "a disk that fills": (4, (*DISKS, "-k", "full_disk")),
}
HOSTILE = 10_000
MEMORY = 40  # MB that the API may have kept of it


class Table:
    """What was done, how often, and what went wrong."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, list[str]]] = []

    def add(self, what: str, count: int, wrong: list[str], told: str = "") -> None:
        """Add a row and print it."""
        self.rows.append((what, count, wrong))
        print(f"| {what} | {count:,} | {len(wrong)} |{told}", flush=True)
        for one in wrong:
            print(f"  {one}", file=sys.stderr, flush=True)


@contextmanager
def stack() -> Iterator[Target]:
    """Start a stack with two releases, the better of which a daily run would promote."""
    with throwaway_checkout("a project") as checkout, tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        os.environ["LANG"] = os.environ["LC_ALL"] = "C"
        os.environ["TMPDIR"] = temporary  # of the DAG's tasks, too
        choose_ports(checkout)
        set_c(checkout, WORSE_C)
        yield prepare(checkout, Path(temporary))


def prepare(checkout: Checkout, temporary: Path) -> Target:
    """Start what is in a checkout, and make its second release."""
    done = checkout.make("up", seconds=900)
    assert done.returncode == 0, done.stdout
    set_c(checkout, PARAMETERS["C"])
    target = Target(checkout, temporary, random.Random())
    target.do(kills.daily_run)
    target.folders = sorted(path.name for path in temporary.iterdir() if path.is_dir())
    return target


def start_as_ordinary_user() -> list[str]:
    """Start and end a stack as a user of the machine who is not its root and has no capability."""
    with throwaway_checkout("an ordinary user") as checkout:
        choose_ports(checkout)
        ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "make"]
        wrong = []
        for target in ("up", "down"):
            done = subprocess.run(
                [*ordinary, target], cwd=checkout.folder, capture_output=True, text=True, timeout=900, check=False
            )
            if done.returncode:
                wrong.append(f"make {target}: {(done.stdout + done.stderr)[-500:]}")
        folder = checkout.folder
        eventually(lambda: not any(kills.works_in(one, folder) for one in psutil.process_iter()), kills.PATIENCE)
    return wrong


def strike(target: Target, fault: Callable[[Target], None], count: int) -> list[str]:
    """Do a fault so often, each time on a stack that is well; return what was wrong."""
    wrong = []
    for _ in range(count):
        try:
            fault(target)
            kills.check(target)
        except Exception as error:  # whatever it is: the campaign goes on, and its table says so
            wrong.append(f"{fault.__name__}: {type(error).__name__}: {str(error)[:500]}")
    return wrong


def attack(target: Target, count: int) -> list[str]:
    """Send hostile requests to the API, and see that its memory returns."""
    api = target.program("src.api")
    before = _memory(api)
    wrong = hostile.attack(target.settings.api_port, count, target.chance)
    try:
        eventually(lambda: not api.is_running() or _memory(api) - before <= MEMORY, 30)
    except AssertionError:
        wrong.append(f"the API kept {_memory(api) - before:.0f} MB of {before:.0f}")
    if not api.is_running():
        wrong.append("the API ended")
    return wrong


def run_suite(count: int, arguments: tuple[str, ...]) -> tuple[list[str], str]:
    """Run tests in a process of their own; return those that failed, and the last line."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *arguments],
        cwd=PROJECT,
        env=os.environ | {"REQUESTS": str(count), "NOTHING_SKIPPED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.findall(r"^(?:FAILED|ERROR) .*$", done.stdout, re.MULTILINE)
    if done.returncode and not failed:
        failed = [done.stdout[-500:]]
    return failed, done.stdout.strip().rpartition("\n")[2]


def is_wanted(what: str) -> bool:
    """Say whether a fault is one of those that were asked for."""
    return re.search(os.environ.get("ONLY") or "", what) is not None


def _memory(process: psutil.Process) -> float:
    everything = [process, *process.children(recursive=True)]
    return sum(float(one.memory_info().rss) for one in everything) / 1e6


def main() -> int:
    """Print the table; returns 1 where something in it went wrong."""
    if not shutil.which("faketime"):
        print("make chaos: install faketime (on Debian: apt-get install faketime)", file=sys.stderr)
        return 1
    share = float(os.environ.get("ROUNDS", "1"))
    table = Table()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}\n")
    print("| fault | times | wrong |\n|---|---|---|", flush=True)
    with stack() as target:
        for what, (count, fault) in FAULTS.items():
            if is_wanted(what):
                done = max(1, round(count * share))
                table.add(what, done, strike(target, fault, done))
        if is_wanted("hostile requests"):
            done = max(10, round(HOSTILE * share))
            table.add("hostile requests", done, attack(target, done))
        for what, seconds in target.repairs.items():
            median, most = statistics.median(seconds), max(seconds)
            print(f"{what} killed: the run that was hit ended well after {median:.0f} s (median), {most:.0f} s (most)")
    if is_wanted("a start by an ordinary user"):
        table.add("a start by an ordinary user", 1, start_as_ordinary_user())
    for what, (count, arguments) in SUITES.items():
        if is_wanted(what):
            done = max(1000, round(count * share)) if count > 1000 else count  # the others do what they always do
            wrong, told = run_suite(done, arguments)
            table.add(what, done, wrong, f"  {told}")
    return 1 if any(wrong for _, _, wrong in table.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
