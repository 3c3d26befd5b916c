"""The search on a Dask cluster: a scheduler and two workers on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client

from src import learn_models
from src.config import PROJECT
from src.search.journal import LEADERBOARD, LOG, MODELS

LIMIT = ["--limit", "2"]
WORKERS = 2


@pytest.fixture(autouse=True)
def no_account() -> Iterator[None]:
    """An empty key is no key, and one that ``.env`` may hold does not replace it."""
    before = dict(os.environ)
    os.environ.update(CLEARML_API_ACCESS_KEY="", CLEARML_API_SECRET_KEY="")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a part of a cluster; each leads a process group of its own, which is ended as a whole."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_one(part: str, *options: str) -> subprocess.Popen[bytes]:
        where = ["--scheduler-file", str(tmp_path / "scheduler.json"), "--host", "127.0.0.1", "--no-dashboard"]
        command = [sys.executable, "-m", f"distributed.cli.dask_{part}", *where, *options]
        with (tmp_path / "cluster.log").open("ab") as log:
            processes.append(subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True))
        return processes[-1]

    yield start_one
    for process in reversed(processes):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def scheduler(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> str:
    """Return the address of a scheduler that has no workers yet."""
    process = start("scheduler", "--port", "0")
    wait_for_file(tmp_path / "scheduler.json", process)
    return str(json.loads((tmp_path / "scheduler.json").read_text())["address"])


def test_cluster_gives_the_same_leaderboard_to_the_last_digit(
    start: Callable[..., subprocess.Popen[bytes]], scheduler: str, data_csv: Path, tmp_path: Path
) -> None:
    for _ in range(WORKERS):
        start("worker", "--nthreads", "1", "--local-directory", str(tmp_path))
    with Client(scheduler) as client:
        client.wait_for_workers(WORKERS, timeout=60)
    local, cluster = tmp_path / "local", tmp_path / "cluster"
    options = [*LIMIT, "--data", str(data_csv), "--into"]
    assert learn_models.main([*options, str(local), "--jobs", "1"]) == 0
    assert learn_models.main([*options, str(cluster), "--backend", "dask", "--scheduler", scheduler]) == 0

    assert (cluster / LEADERBOARD).read_bytes() == (local / LEADERBOARD).read_bytes()
    assert {file.name for file in (cluster / MODELS).iterdir()} == {file.name for file in (local / MODELS).iterdir()}
    assert len((cluster / LOG).read_text().splitlines()) == 4
    with Client(scheduler) as client:
        # a function of this module would bring the module, and the search with it, into the worker
        has_searched = client.run(eval, "'src.search.trials' in __import__('sys').modules")
    assert list(has_searched.values()) == [True] * WORKERS


def test_scheduler_that_is_unreachable_is_told(
    data_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data_csv), "--into", str(tmp_path)]
    assert learn_models.main([*options, "--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "no Dask scheduler at tcp://127.0.0.1:1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_cluster_without_workers_is_told(
    scheduler: str, data_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(data_csv), "--into", str(tmp_path / "search")]
    assert learn_models.main([*options, "--backend", "dask", "--scheduler", scheduler]) == 1
    assert "the Dask cluster gave up" in capsys.readouterr().err


def wait_for_file(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None and time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.05)
