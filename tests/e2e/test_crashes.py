"""What a stack does when its parts are killed or its disk is full: it repairs itself, or ``make up`` does.

The tests of this module share a stack on a small disk and follow one another.
"""

import random
import xmlrpc.client
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from supervisor.xmlrpc import SupervisorTransport

from bench import chaos, kills
from local.airflow_client import Airflow
from local.env import read_env
from src.config import PARAMETERS
from tests.support.newcomer import WORSE_C, set_c
from tests.support.services import eventually, fill_disk, small_disk
from tests.support.throwaway import Checkout, choose_ports, throwaway_checkout

SLOW_DAG = """
import os, time
from datetime import datetime
from pathlib import Path
from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1), is_paused_upon_creation=False)
def slow():
    @task
    def nap(first=Path(__file__).with_name("nap.pid")):
        if not first.exists():
            first.write_text(str(os.getpid()))
            time.sleep(600)

    nap()


slow()
"""


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    with throwaway_checkout() as checkout, ExitStack() as stack:
        choose_ports(checkout)
        stack.enter_context(small_disk(checkout.folder / ".stack", 96))
        stack.callback(checkout.make, "down")
        (checkout.folder / "dags" / "slow.py").write_text(SLOW_DAG)
        done = checkout.make("up")
        assert done.returncode == 0, done.stdout
        yield checkout


def supervisor(checkout: Checkout, method: str, *arguments: str) -> Any:
    """Ask supervisord something, as ``supervisorctl`` does."""
    transport = SupervisorTransport(serverurl=f"unix://{checkout.folder}/.stack/supervisor.sock")
    with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
        return getattr(proxy.supervisor, method)(*arguments)


def programs(checkout: Checkout) -> dict[str, dict[str, Any]]:
    """Return what supervisor knows of each program."""
    return {program["name"]: program for program in supervisor(checkout, "getAllProcessInfo")}


def kill(checkout: Checkout, name: str) -> list[psutil.Process]:
    """Kill a program as it runs; return the processes that it had started."""
    process = psutil.Process(eventually(lambda: programs(checkout)[name]["pid"]))
    children = process.children(recursive=True)
    process.kill()
    return children


def runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_run(checkout: Checkout) -> bool:
    states = [program["statename"] for program in programs(checkout).values()]
    return states == ["RUNNING"] * 6


def test_a_killed_scheduler_leaves_no_orphan_and_its_task_is_tried_again_soon(checkout: Checkout) -> None:
    marker = checkout.folder / "dags" / "nap.pid"
    with Airflow.of(read_env(checkout.folder / ".env")[0]) as airflow:
        eventually(airflow.is_ready)
        run = airflow.trigger("slow")
        eventually(lambda: marker.exists() and marker.read_text())
        task = psutil.Process(int(marker.read_text()))
        children = kill(checkout, "airflow-scheduler")
        assert task in children
        assert len(children) >= 5
        eventually(lambda: not any(map(runs, children)))
        (again,) = airflow.follow(run, 120, "slow")
    assert (again["state"], again["try_number"]) == ("success", 2)


def test_a_killed_dag_processor_leaves_no_orphan(checkout: Checkout) -> None:
    (checkout.folder / "dags" / "endless.py").write_text("from airflow.sdk import dag\nwhile True: pass\n")
    kill(checkout, "airflow-dag-processor")  # the next one reads the folder at once
    parser = eventually(lambda: child_that_lasts(programs(checkout)["airflow-dag-processor"]["pid"]))
    assert parser in kill(checkout, "airflow-dag-processor")
    (checkout.folder / "dags" / "endless.py").unlink()
    eventually(lambda: not runs(parser))


def child_that_lasts(pid: int) -> psutil.Process | None:
    """Return the child of a process that has used up a second, where there is one."""
    try:
        return next((one for one in psutil.Process(pid).children() if sum(one.cpu_times()[:2]) > 1), None)
    except psutil.NoSuchProcess:
        return None


def test_a_service_that_is_killed_five_times_in_a_row_comes_back(checkout: Checkout) -> None:
    for _ in range(5):
        pid = eventually(lambda: programs(checkout)["front"]["pid"])
        kill(checkout, "front")
        eventually(lambda: programs(checkout)["front"]["pid"] != pid)
    eventually(lambda: all_run(checkout))


def test_make_up_starts_what_was_given_up(checkout: Checkout) -> None:
    variables = checkout.folder / ".stack" / "environments" / "airflow-api-server"
    away = variables.rename(variables.with_name("away"))
    kill(checkout, "airflow-api-server")
    eventually(lambda: programs(checkout)["airflow-api-server"]["statename"] == "FATAL")
    away.rename(variables)
    done = checkout.make("up")
    assert done.returncode == 0, done.stdout
    eventually(lambda: all_run(checkout))


def test_a_short_round_of_the_campaign_of_faults_does_no_harm_and_sees_what_does(
    checkout: Checkout, tmp_path: Path
) -> None:
    target = kills.Target(checkout, tmp_path, random.Random())
    set_c(checkout, WORSE_C)
    output, _ = target.start("src.pipeline").communicate()
    assert "update_model  skipped" in output  # there is a release to promote by hand now
    set_c(checkout, PARAMETERS["C"])
    for fault in (kills.kill_promotion, kills.kill_api, kills.kill_store, kills.run_twice):
        assert chaos.strike(target, fault, 1) == []
    assert chaos.attack(target, 120) == []
    (wrong,) = chaos.strike(target, lambda _: (tmp_path / "left").mkdir(), 1)
    assert "left in the temporary folder: left" in wrong


def test_what_runs_outlives_a_full_disk_and_make_up_says_so(checkout: Checkout) -> None:
    pid = supervisor(checkout, "getPID")
    full = fill_disk(checkout.folder / ".stack")
    for name in ("api", "airflow-scheduler", "front"):
        kill(checkout, name)  # each is a line in the log of supervisord
    eventually(lambda: programs(checkout)["front"]["statename"] == "RUNNING")
    supervisor(checkout, "stopProcess", "airflow-scheduler")
    done = checkout.make("up")
    assert f"make up: the disk of {full.parent} is full (0 MB left); free some space, then: make up" in done.stdout
    assert "Traceback" not in done.stdout
    full.unlink()
    done = checkout.make("up")
    assert done.returncode == 0, done.stdout
    eventually(lambda: all_run(checkout))
    assert supervisor(checkout, "getPID") == pid


def test_make_up_on_a_full_disk_for_temporary_files_says_so(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor(checkout, "stopProcess", "airflow-scheduler")
    with small_disk(tmp_path / "small", 1):
        fill_disk(tmp_path / "small")
        monkeypatch.setenv("TMPDIR", str(tmp_path / "small"))
        done = checkout.make("up")
    line = f"make up: the disk of {tmp_path}/small is full (0 MB left); free some space, then: make up"
    assert done.stdout.splitlines()[0] == line
