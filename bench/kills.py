"""Faults of a running stack at a random moment of its work, most of them kills with -9, and what must hold after."""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path

import boto3
import httpx
import psutil
from botocore.config import Config

from local.airflow_client import ENDED, Airflow, RunError
from local.env import read_env
from src import checker
from src.core.wine import EXAMPLE
from src.errors import RegistryError, StoreError
from src.pipeline.run import run
from src.registry import Registry
from src.settings import StackSettings
from src.storage.bucket import Bucket
from tests.support.services import eventually
from tests.support.throwaway import Checkout
from workers import preload  # noqa: F401: it loads the libraries that forks share, as a worker does

PATIENCE = 400  # seconds that a busy machine may take
REPAIR = 150  # seconds after which a run that was hit must have ended well
REJECTED = 3  # the exit code of a run that found another champion than it had compared with
Forked = BaseProcess


@dataclass
class Target:
    """A stack that runs, its two releases, and what was measured of it."""

    checkout: Checkout
    temporary: Path
    chance: random.Random
    folders: list[str] = field(default_factory=list)  # in the temporary folder while nothing works
    repairs: dict[str, list[float]] = field(default_factory=dict)  # seconds until a run that was hit had ended well

    @property
    def settings(self) -> StackSettings:
        """Return what ``.env`` says."""
        return read_env(self.checkout.folder / ".env")[0]

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        """Start a Python module in the checkout, as a person does in a shell; a command before it may start it."""
        kept = {name: value for name, value in os.environ.items() if name.lower() not in StackSettings.model_fields}
        return subprocess.Popen(
            [*before, sys.executable, "-m", *arguments],
            cwd=self.checkout.folder,
            env=kept | {"TMPDIR": str(self.temporary)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @cached_property
    def registry(self) -> Registry:
        """Return the registry in the stack's bucket."""
        settings = self.settings
        client = boto3.Session().client(
            "s3",
            endpoint_url=settings.aws_endpoint_url_s3,
            region_name=settings.aws_region,
            aws_access_key_id=settings.aws_access_key_id,
            aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
            config=Config(request_checksum_calculation="when_required"),
        )
        return Registry(Bucket(settings.bucket, client))

    def fork(self, work: Callable[[], object]) -> Forked:
        """Start a command of the project in a process that has its libraries in memory already, as a worker has."""
        _, values = read_env(self.checkout.folder / ".env")
        process = multiprocessing.get_context("fork").Process(
            target=_work, args=(work, values | {"TMPDIR": str(self.temporary)}, self.temporary / "output")
        )
        process.start()
        return process

    def do(self, work: Callable[[], object]) -> None:
        """Run a command of the project to its end.

        Raises:
            AssertionError: it failed.

        """
        process = self.fork(work)
        process.join(PATIENCE)
        output = (self.temporary / "output").read_text().strip()[-300:]
        assert process.exitcode == 0, f"a command ended with {process.exitcode}: {output}"

    def promote(self) -> Callable[[], object]:
        """Return the promotion by hand of a release that is not the champion."""
        champion = self.registry.current()
        assert champion
        other = next(one for one in self.registry.releases() if one != champion.id)

        def work() -> None:
            registry = Registry(Bucket.from_environment())
            registry.promote(registry.find(other), "promoted by hand", "chaos", {})

        return work

    def sleep(self, most: float) -> None:
        """Wait for a random time."""
        time.sleep(self.chance.uniform(0, most))

    def processes(self) -> list[psutil.Process]:
        """Return every process that works in the checkout."""
        return [one for one in psutil.process_iter() if works_in(one, self.checkout.folder)]

    def program(self, *words: str) -> psutil.Process:
        """Return the process of supervisor's program that was started by these words."""
        return eventually(lambda: next(iter(self._found(words)), None), PATIENCE)

    def _found(self, words: tuple[str, ...]) -> Iterator[psutil.Process]:
        for one in self.processes():
            with suppress(psutil.Error):
                if all(any(word in part for part in one.cmdline()) for word in words):
                    yield one


def kill_promotion(target: Target) -> None:
    """Kill a promotion by hand."""
    _kill_during(target, lambda: target.fork(target.promote()), 1)


def kill_pipeline(target: Target) -> None:
    """Kill a daily run from the shell that has a better release to promote."""

    def begin() -> Forked:
        target.do(target.promote())
        return target.fork(daily_run)

    _kill_during(target, begin, 6)


def kill_api(target: Target) -> None:
    """Kill the API while it fetches, tries and keeps a new champion."""
    api, before = target.program("src.api"), _served(target)
    promotion = target.fork(target.promote())
    eventually(lambda: api.children() or _served(target) != before, PATIENCE)  # the child tries the release
    target.sleep(1)
    api.kill()
    promotion.join(PATIENCE)


def kill_store(target: Target) -> None:
    """Kill the store during a promotion."""
    while True:
        promotion = target.fork(target.promote())
        target.sleep(1)
        if promotion.is_alive():
            target.program("gateway").kill()
            promotion.join(PATIENCE)  # it may fail: the champion must be the one or the other
            return


def kill_task(target: Target) -> None:
    """Kill a process that a task of a DAG's run works in."""
    while True:
        with HitRun(target, "a DAG task") as run:
            scheduler = target.program("local.airflow", "scheduler")
            eventually(lambda: _list_tasks(scheduler) or run.has_ended(), PATIENCE)
            victims = _list_tasks(scheduler)
            run.is_hit = bool(victims)
            if victims:
                target.chance.choice(victims).kill()
        if run.is_hit:
            return


def kill_scheduler(target: Target) -> None:
    """Kill the scheduler during a run; what it had forked must end with it."""
    with HitRun(target, "the scheduler"):
        scheduler = target.program("local.airflow", "scheduler")
        children = scheduler.children(recursive=True)
        scheduler.kill()
        gone, alive = psutil.wait_procs(children, timeout=5)
        assert not alive, f"{len(alive)} processes outlived the scheduler by 5 s"


def kill_supervisord(target: Target) -> None:
    """Kill supervisord during a run, and start again."""
    with HitRun(target, "supervisord"):
        target.program("supervisor.supervisord").kill()
        _make_up(target)


def kill_everything(target: Target) -> None:
    """Kill every process at once during a run, as when the machine loses its power, and start again."""
    with HitRun(target, "everything at once"):
        for one in target.processes():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        _make_up(target)


def start_twice(target: Target) -> None:
    """Kill supervisord, and run two ``make up`` at once."""
    target.program("supervisor.supervisord").kill()
    both = [target.start("local.stack", "up") for _ in range(2)]
    for one in both:
        output, _ = one.communicate(timeout=PATIENCE)
        assert one.returncode == 0, output[-300:]


def run_twice(target: Target) -> None:
    """Do two daily runs at once that have a better release to promote: each ends well, or is rejected by name."""
    target.do(target.promote())
    both = [target.fork(daily_run) for _ in range(2)]
    for one in both:
        one.join(PATIENCE)
    codes = [one.exitcode for one in both]
    assert 0 in codes and set(codes) <= {0, REJECTED}, f"exit codes {codes}"


def jump_clock(target: Target) -> None:
    """Promote by a clock that is minutes wrong, and try to by one that is days wrong, which the store rejects."""
    minutes, days = target.chance.uniform(-10, 10), target.chance.choice((-1, 1)) * target.chance.uniform(1, 400)
    for jump in (f"{minutes * 60:+.0f}s", f"{days:+.0f}d"):
        champion = target.registry.current()
        assert champion
        other = next(one for one in target.registry.releases() if one != champion.id)
        told = target.start("src.registry", "promote", other, before=("faketime", "-f", jump))
        output, _ = told.communicate(timeout=PATIENCE)
        if jump.endswith("s"):
            assert told.returncode == 0, f"at {jump}: {output[-300:]}"
        else:
            assert told.returncode and len(output.splitlines()) == 1, f"at {jump}: {output[-300:]}"


def daily_run() -> None:
    """Do the daily run, as ``make run`` does."""
    try:
        run("chaos")
    except RegistryError as error:
        sys.exit(REJECTED if "was compared; start a new run" in str(error) else str(error))


def check(target: Target) -> None:
    """Fail where anything is wrong with a stack that was left alone since the fault.

    Raises:
        AssertionError: says what.

    """
    eventually(lambda: _served(target) and _stores(target), PATIENCE)
    target.do(daily_run)
    events = target.registry.history()
    assert events[0].replaced is None
    for before, after in pairwise(events):
        assert after.replaced == before.release, f"history is out of order at {after.time}"
        assert after.time > before.time, f"history goes back at {after.time}"
    target.do(lambda: sys.exit(checker.main([])))
    eventually(lambda: _served(target) == events[-1].release, PATIENCE)
    left = sorted(path.name for path in target.temporary.iterdir() if path.is_dir())
    assert left == target.folders, f"left in the temporary folder: {', '.join(left)}"
    eventually(lambda: not _strays(target))


def _strays(target: Target) -> list[psutil.Process]:
    supervisor = target.program("supervisor.supervisord")
    kept = {supervisor.pid, *(one.pid for one in supervisor.children(recursive=True))}
    return [one for one in target.processes() if one.pid not in kept]


class HitRun:
    """Start a run of the DAG, wait for a random moment of it, and after the block wait until it has ended well."""

    def __init__(self, target: Target, what: str) -> None:
        self.target, self.what = target, what
        self.is_hit = True

    def __enter__(self) -> "HitRun":
        while True:
            with Airflow.of(self.target.settings) as airflow:
                eventually(airflow.is_ready, PATIENCE)
                self.run = airflow.trigger()
            self.target.sleep(15)
            if not self.has_ended():
                return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            return
        start = time.monotonic()
        with Airflow.of(self.target.settings) as airflow:
            eventually(airflow.is_ready, PATIENCE)
            while True:
                try:
                    list(airflow.follow(self.run, PATIENCE))
                    break
                except RunError as error:
                    assert "does not answer" in str(error) and time.monotonic() < start + PATIENCE, error
        if not self.is_hit:
            return
        seconds = time.monotonic() - start
        self.target.repairs.setdefault(self.what, []).append(seconds)
        assert seconds <= REPAIR, f"the run that was hit ended after {seconds:.0f} s"

    def has_ended(self) -> bool:
        """Say whether the run came to its end."""
        with Airflow.of(self.target.settings) as airflow:
            eventually(airflow.is_ready, PATIENCE)
            return airflow.runs()[self.run] in ENDED


def _work(work: Callable[[], object], values: Mapping[str, str], output: Path) -> None:
    """Do in a fork what a command does, in the environment of ``.env``."""
    os.environ.update(values)
    tempfile.tempdir = None  # what the parent found out
    with output.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        os.dup2(file.fileno(), 2)
        work()


def _kill_during(target: Target, begin: Callable[[], Forked], most: float) -> None:
    """Kill a process at a random moment of its first seconds; where it had ended by then, try another."""
    while True:
        process = begin()
        target.sleep(most)
        if process.is_alive():
            process.kill()
            process.join(60)
            return
        process.join()


def _list_tasks(scheduler: psutil.Process) -> list[psutil.Process]:
    """Return the processes that work at tasks now: executor's workers, and what they forked for it, by their titles."""
    found = []
    for one in scheduler.children(recursive=True):
        with suppress(psutil.Error):
            title = " ".join(one.cmdline())
            if "LocalExecutor" in title and "<idle>" not in title:
                found.append(one)
    return found


def _make_up(target: Target) -> None:
    output = target.start("local.stack", "up")
    told, _ = output.communicate(timeout=PATIENCE)
    assert output.returncode == 0, told[-300:]


def _stores(target: Target) -> bool:
    try:
        return target.registry.current() is not None
    except StoreError:  # supervisord is about to start it again
        return False


def _served(target: Target) -> str | None:
    try:
        url = f"http://127.0.0.1:{target.settings.api_port}/predict"
        answer: Mapping[str, str] = httpx.post(url, json=EXAMPLE, timeout=10).raise_for_status().json()
        return answer["release"]
    except httpx.HTTPError:
        return None


def works_in(process: psutil.Process, folder: Path) -> bool:
    """Say whether a process that lives has this folder for its own."""
    try:
        return Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
