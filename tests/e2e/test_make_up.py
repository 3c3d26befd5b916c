"""What a newcomer does, on a stack of its own: ``make up``, predict, run again, change, roll back, ``make down``.

The tests of this module share the stack and follow one another, as a person's first hour does.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from local.airflow_client import Airflow, RunError
from local.env import read_env
from src.config import MODEL, PARAMETERS, PROJECT, SPLIT
from src.core import dataset, models
from src.core.wine import EXAMPLE, TARGET
from src.errors import StoreError
from src.pipeline.run import STEPS
from src.registry import CURRENT
from src.settings import StackSettings
from src.storage.bucket import Bucket
from tests.conftest import push_data
from tests.support import leaks
from tests.support.documents import blocks, shows
from tests.support.newcomer import WORSE_C, predict_on_the_page, set_c
from tests.support.services import eventually
from tests.support.throwaway import Checkout, choose_ports, throwaway_checkout
from tests.support.tools import needs


@dataclass(frozen=True)
class Stack:
    """A running stack, and what ``make up`` printed."""

    checkout: Checkout
    ports: dict[str, int]
    output: str

    def url(self, path: str, port: str = "API_PORT") -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def release(self) -> dict[str, Any]:
        release: dict[str, Any] = httpx.get(self.url("/release"), timeout=10).raise_for_status().json()
        return release

    def registry(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "src.registry", *arguments]
        return subprocess.run(
            command, cwd=self.checkout.folder, capture_output=True, text=True, check=True, env=clean_environment()
        ).stdout

    def run_dag(self) -> dict[str, str]:
        """Run the DAG through the scheduler; returns each task's state."""
        with Airflow.of(read_env(self.checkout.folder / ".env")[0]) as airflow:
            eventually(airflow.is_ready)
            return {task["task_id"]: task["state"] for task in airflow.follow(airflow.trigger())}


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what ``.env`` sets."""
    return {name: value for name, value in os.environ.items() if name.lower() not in StackSettings.model_fields}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Start everything by ``make up``, with a parameter that leaves room for a better one."""
    with throwaway_checkout() as checkout:
        ports = choose_ports(checkout)
        set_c(checkout, WORSE_C)
        done = checkout.make("up")
        assert done.returncode == 0, done.stdout
        yield Stack(checkout, ports, done.stdout)


def test_progress_names_the_six_tasks_and_the_summary_is_true(stack: Stack) -> None:
    finished = re.findall(r"\] +(\w+) +success +[\d.]+ s$", stack.output, re.MULTILINE)
    assert finished == list(STEPS)
    release = stack.release()
    assert re.search(rf"Release +{release['id']}  \(Accuracy 0\.\d+, F1_score 0\.\d+, ROC_AUC 0\.\d+ ", stack.output)
    for path, port in (("/docs", "API_PORT"), ("", "FRONT_PORT"), ("", "AIRFLOW_PORT")):
        assert stack.url(path, port) in stack.output
        assert httpx.get(stack.url(path, port), follow_redirects=True, timeout=10).is_success
    ((command, answer),) = re.findall(r"^(curl .*)\n(\{.*\})$", stack.output, re.MULTILINE)
    again = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert without_id(again) == without_id(answer) != answer


def without_id(text: str) -> str:
    """Return what was printed without the id of the answer in it, of which each has its own."""
    return re.sub(r'"id":"[0-9a-f]+"', '"id":"…"', text)


def test_the_login_of_the_summary_opens_airflow(stack: Stack) -> None:
    ((user, password),) = re.findall(r"user (\S+), password (\S+)\)", stack.output)
    token = stack.url("/auth/token", "AIRFLOW_PORT")
    assert httpx.post(token, json={"username": user, "password": password}, timeout=10).is_success
    assert httpx.post(token, json={"username": user, "password": password + "x"}, timeout=10).status_code == 401
    assert httpx.get(stack.url("/api/v2/dags", "AIRFLOW_PORT"), timeout=10).status_code == 401


def test_airflows_home_says_why_its_triggerer_is_red(stack: Stack) -> None:
    ((user, password),) = re.findall(r"user (\S+), password (\S+)\)", stack.output)
    login = {"username": user, "password": password}
    token = httpx.post(stack.url("/auth/token", "AIRFLOW_PORT"), json=login, timeout=10).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    home = httpx.get(stack.url("/ui/config", "AIRFLOW_PORT"), headers=headers, timeout=10).raise_for_status().json()
    assert "No triggerer is needed" in home["dashboard_alert"][0]["text"]
    health = httpx.get(stack.url("/api/v2/monitor/health", "AIRFLOW_PORT"), timeout=10).json()
    assert health["triggerer"]["status"] is None


def test_a_second_make_up_changes_nothing(stack: Stack) -> None:
    history, processes = stack.registry("history"), stack.checkout.make("status").stdout.count("RUNNING")
    done = stack.checkout.make("up")
    assert done.returncode == 0
    assert done.stdout.startswith("Everything is up already.")
    assert without_id(done.stdout).endswith(without_id(stack.output.partition("\nPage")[2]))
    assert stack.registry("history") == history
    assert processes == 6


def test_settings_that_changed_under_a_running_stack_are_told(stack: Stack) -> None:
    env = stack.checkout.folder / ".env"
    before = env.read_text()
    env.write_text(before.replace("API_POLL_SECONDS=2", "API_POLL_SECONDS=3"))
    done = stack.checkout.make("up")
    env.write_text(before)
    assert done.returncode != 0
    assert ".env changed since the stack was started; run: make down, then make up" in done.stdout


def test_status_shows_every_part_within_its_memory(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # a shell's proxy is for other hosts
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-another-account")
    assert stack.checkout.make("check").returncode == 0
    done = stack.checkout.make("status")
    assert done.returncode == 0, done.stdout
    (mebibytes,) = re.findall(r"memory \(PSS\) +(\d+) MiB", done.stdout)
    (gigabytes,) = re.findall(r"([\d.]+) GB of memory", (PROJECT / "README.md").read_text())
    assert 0.5 < int(mebibytes) * 2**20 / 1e9 / float(gigabytes) < 1.2


def test_the_api_and_the_page_hold_no_secret_of_another(stack: Stack) -> None:
    _, values = read_env(stack.checkout.folder / ".env")
    secret = re.compile("SECRET|PASSWORD|FERNET|_KEY_ID|ROOT_USER|SIGNING")
    secrets = {key: value for key, value in values.items() if value and secret.search(key)}
    assert len(secrets) >= 13
    held = {}
    for name in ("src.api", "streamlit"):
        (process,) = [one for one in processes_of(stack) if any(name in word for word in one.cmdline())]
        environ = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        assert "API_URL=" in environ
        held[name] = {key for key, value in secrets.items() if value in environ}
    assert held == {"src.api": {"API_ACCESS_KEY_ID", "API_SECRET_ACCESS_KEY"}, "streamlit": set()}


def test_the_keys_of_the_api_read_and_write_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    _, values = read_env(stack.checkout.folder / ".env")
    own = {"AWS_ACCESS_KEY_ID": values["API_ACCESS_KEY_ID"], "AWS_SECRET_ACCESS_KEY": values["API_SECRET_ACCESS_KEY"]}
    for key, value in (values | own).items():
        monkeypatch.setenv(key, value)
    bucket = Bucket.from_environment()
    assert stack.release()["id"] in bucket.get(CURRENT).decode()
    with pytest.raises(StoreError, match="AccessDenied"):
        bucket.put(CURRENT, b"mine")


def test_what_the_stack_writes_is_for_its_owner_alone(stack: Stack) -> None:
    folder = stack.checkout.folder
    written = [folder / ".env", folder / ".stack", *(folder / ".stack").rglob("*")]
    open_to_others = [path for path in written if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_no_log_command_line_page_or_metric_holds_a_secret(stack: Stack) -> None:
    settings, values = read_env(stack.checkout.folder / ".env")
    secrets = leaks.secrets_of(values)
    assert len(secrets) >= 13
    login = {"username": settings.airflow_user, "password": settings.airflow_password.get_secret_value()}
    token = httpx.post(stack.url("/auth/token", "AIRFLOW_PORT"), json=login, timeout=10).json()["access_token"]
    with Airflow.of(settings) as airflow:
        eventually(airflow.is_ready)
        read = dict(leaks.airflow_pages(airflow, token))
    assert len([path for path in read if path.endswith("/xcomEntries/return_value")]) == len(STEPS)
    assert len([path for path in read if "/logs/" in path]) == len(STEPS)
    assert {"/api/v2/variables", "/api/v2/connections", "/api/v2/config"} <= read.keys()
    found = leaks.find_leaks(
        secrets,
        iter(read.items()),
        leaks.files(stack.checkout.folder / ".stack"),
        leaks.command_lines(),
        leaks.pages(stack.url(""), "/metrics", "/healthcheck", "/release", "/openapi.json"),
        leaks.pages(stack.url("", "FRONT_PORT"), "/"),
        iter([("make status", stack.checkout.make("status").stdout.encode())]),
    )
    assert found == []


def test_every_socket_that_listens_does_so_on_this_machine_alone(stack: Stack) -> None:
    pids = {process.pid for process in processes_of(stack)}
    listening: list[Any] = [
        one.laddr for one in psutil.net_connections("inet") if one.pid in pids and one.laddr and not one.raddr
    ]
    assert {address.port for address in listening} >= {
        stack.ports[key] for key in ("S3_PORT", "API_PORT", "FRONT_PORT", "AIRFLOW_PORT")
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_two_make_up_at_once_follow_one_another(stack: Stack) -> None:
    before = {process.pid for process in processes_of(stack)}
    with (stack.checkout.folder / ".stack" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(stack.checkout.make, "up")
            eventually(lambda: processes_waiting_for_a_lock(stack) - before)
            assert not waiting.done()
            fcntl.flock(lock, fcntl.LOCK_UN)
            done = waiting.result()
    assert "another make up is at work; waiting for it" in done.stdout
    assert done.returncode == 0, done.stdout


def processes_of(stack: Stack) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if works_in(process, stack.checkout.folder)]


def processes_waiting_for_a_lock(stack: Stack) -> set[int]:
    waiting = re.findall(r"-> FLOCK +\w+ +\w+ +(\d+)", Path("/proc/locks").read_text())
    return {process.pid for process in processes_of(stack)} & {int(pid) for pid in waiting}


def test_held_out_wines_are_answered_as_scikit_learn_does(stack: Stack, data_csv: Path) -> None:
    train, test = dataset.split(dataset.read(data_csv), SPLIT)
    fitted = models.fit(MODEL, {**PARAMETERS, "C": WORSE_C}, train)
    expected = fitted.predict_proba(test[dataset.FEATURE_NAMES])
    with httpx.Client(base_url=stack.url(""), timeout=10) as client:
        answers = [
            client.post("/predict", json=dict(zip(EXAMPLE, row, strict=True))).json()
            for row in test[dataset.FEATURE_NAMES].to_numpy().tolist()
        ]
    served = np.array([list(answer["probabilities"].values()) for answer in answers])
    np.testing.assert_allclose(served, expected, atol=2e-5)
    accuracy = np.mean([answer["predicted_quality"] for answer in answers] == test[TARGET].to_numpy())
    assert accuracy == pytest.approx(stack.release()["metrics"]["test"]["Accuracy"], abs=1e-6)


@needs("chromium")
def test_a_person_gets_a_prediction_from_the_page(stack: Stack) -> None:
    predict_on_the_page(stack.url("", "FRONT_PORT"), stack.release()["id"])


def test_a_second_run_finds_the_same_bytes_and_skips_the_update(stack: Stack) -> None:
    before = stack.release()["id"]
    states = stack.run_dag()
    assert states.pop("update_model") == "skipped"
    assert set(states.values()) == {"success"}
    assert stack.release()["id"] == before


def test_a_table_in_other_units_is_held_and_the_log_of_its_task_ends_with_why(
    stack: Stack, data_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, pointer_file = stack.release()["id"], stack.checkout.folder / "data.dvc"
    before = pointer_file.read_text()
    settings, values = read_env(stack.checkout.folder / ".env")
    for key, value in values.items():
        monkeypatch.setenv(key, value)
    table = dataset.read(data_csv)
    dataset.write(table.assign(alcohol=table["alcohol"] / 100), tmp_path / "new.csv")
    pointer_file.write_text(push_data(Bucket.from_environment(), tmp_path / "new.csv").to_yaml())
    with Airflow.of(settings) as airflow:
        eventually(airflow.is_ready)
        run = airflow.trigger()
        with pytest.raises(RunError):
            list(airflow.follow(run))
        states = {task["task_id"]: task["state"] for task in airflow.tasks(run)}
        log = airflow.log(run, "pull_data")
    pointer_file.write_text(before)
    assert states == dict.fromkeys(STEPS, "upstream_failed") | {"pull_data": "failed"}
    *_, last = (line for line in log.splitlines() if not line.startswith("::"))  # marks of groups, which the page folds
    assert re.search(r"wine_quality.pull_data failed in run .*: DataError: held: alcohol shifted", last)
    assert stack.release()["id"] == served


def test_a_better_parameter_is_shipped_and_rolled_back_while_the_api_answers(stack: Stack) -> None:
    first = stack.release()["id"]
    set_c(stack.checkout, PARAMETERS["C"])
    assert set(stack.run_dag().values()) == {"success"}
    second = eventually(lambda: release if (release := stack.release()["id"]) != first else None)
    assert re.search(rf"{first:12} → {second} \* Accuracy .*  better beyond chance on", stack.registry("history"))
    set_c(stack.checkout, 0.3)
    assert stack.run_dag()["update_model"] == "skipped"
    assert stack.release()["id"] == second
    set_c(stack.checkout, PARAMETERS["C"])
    assert f"{second} → {first} (rollback" in stack.registry("rollback")
    eventually(lambda: stack.release()["id"] == first)
    assert stack.run_dag()["update_model"] == "skipped"
    assert stack.release()["id"] == first
    assert httpx.post(stack.url("/predict"), json=EXAMPLE, timeout=10).json()["release"] == first


def test_every_pointer_holds(stack: Stack) -> None:
    done = stack.checkout.make("check")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("ok  ") == 5


def test_a_shell_and_plain_dvc_hold_exactly_what_the_api_serves(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "current.dvc").write_text(stack.registry("current"))
    dvc = Path(sys.executable).parent / "dvc"
    script = f"""set -e; set -a; . "{stack.checkout.folder}/.env"; set +a
      "{dvc}" init --no-scm -q; "{dvc}" remote add -d bucket "s3://$BUCKET/dvc"; "{dvc}" pull -q current.dvc"""
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    served = stack.release()["metrics"]
    assert json.loads((tmp_path / "release" / "metrics.json").read_text()) == {"format": 1, **served}


@needs("curl")
def test_the_commands_of_the_readme_work(stack: Stack) -> None:
    releases = [line.split()[4] for line in stack.registry("history").splitlines()]
    stack.registry("promote", releases[1])  # so that there is something to roll back
    eventually(lambda: stack.release()["id"] == releases[1])
    commands = blocks("README.md", "sh")
    printed = {block: run(stack, block) for block in commands if block not in ("make test\n", "make down\n")}
    assert len(printed) == len(commands) - 2 >= 7
    (answer,) = (json.loads(text) for block, text in printed.items() if "/predict" in block)
    (shown,) = map(json.loads, blocks("README.md", "json"))
    assert {**answer, "id": shown["id"]} == shown

    (told,) = map(json.loads, blocks("docs/predictions.md", "json")[1:])
    (label,) = blocks("docs/predictions.md", "sh")
    assert told["taken"] == [shown["id"]]
    assert json.loads(run(stack, label.replace(shown["id"], answer["id"]))) == told | {"taken": [answer["id"]]}


def test_runs_with_other_parameters_print_what_the_readme_says(stack: Stack) -> None:
    started, chance, better = ("\n…\n".join(block.splitlines()) for block in blocks("README.md", "text"))
    assert shows(started.partition("\n")[2], stack.output, same_figures=False)
    worse, configured = (line.split()[4] for line in stack.registry("history").splitlines()[:2])
    stack.registry("promote", configured)
    set_c(stack.checkout, 0.3)
    assert shows(chance, run(stack, "make run"))
    stack.registry("promote", worse)
    set_c(stack.checkout, PARAMETERS["C"])
    assert shows(better, run(stack, "make run"))
    eventually(lambda: stack.release()["id"] == configured)


def run(stack: Stack, script: str) -> str:
    """Return what a document's commands print in the stack's folder."""
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{stack.ports['API_PORT']}")
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=stack.checkout.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_make_down_ends_every_process_even_orphans_and_keeps_the_data(stack: Stack) -> None:
    served, history = stack.release()["id"], stack.registry("history")
    mine = [process for process in psutil.process_iter() if works_in(process, stack.checkout.folder)]
    assert len(mine) >= 10
    (supervisor,) = [process for process in mine if "supervisor.supervisord" in process.cmdline()]
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(10)
    done = stack.checkout.make("down")
    assert done.returncode == 0, done.stdout
    psutil.wait_procs(mine, timeout=1)
    assert [process for process in psutil.process_iter() if works_in(process, stack.checkout.folder)] == []
    assert stack.checkout.make("down").stdout == "Nothing was running.\n"

    again = stack.checkout.make("up")
    assert again.returncode == 0, again.stdout
    assert "in the bucket already" in again.stdout
    assert stack.release()["id"] == served
    assert stack.registry("history") == history


def test_a_wiped_stack_is_restored_to_the_same_champion_history_and_runs(stack: Stack) -> None:
    folder = stack.checkout.folder
    settings, values = read_env(folder / ".env")
    served, history = stack.release(), stack.registry("history")
    with Airflow.of(settings) as airflow:
        eventually(airflow.is_ready)
        runs = airflow.runs()
        backup, restore = blocks("docs/reliability.md", "sh")
        plain, name = re.findall(r"Wrote (\S+): ", run(stack, backup))
        in_both = [tarfile.open(folder / one).getnames() for one in (plain, name)]
        assert set(in_both[1]) - set(in_both[0]) == {"env"}
        assert "the stack runs; stop it first with: make down" in stack.checkout.make("restore", f"FILE={name}").stdout
        assert stack.checkout.make("down").returncode == 0
        assert "holds data; move it away" in stack.checkout.make("restore", f"FILE={name}").stdout
        (folder / ".stack").rename(folder / "wiped")
        (folder / "cut.tar.gz").write_bytes((folder / name).read_bytes()[:-1000])
        assert (
            "cut.tar.gz is not a backup, or was cut short" in stack.checkout.make("restore", "FILE=cut.tar.gz").stdout
        )
        assert not (folder / ".stack").exists()

        (folder / "wiped").rename(folder / ".stack")
        env = (folder / ".env").rename(folder / "wiped.env")
        run(stack, re.sub(r"backup-\w+\.tar\.gz", name, restore))
        assert (folder / ".env").read_bytes() == env.read_bytes()
        assert (folder / ".env").stat().st_mode & 0o077 == 0
        eventually(airflow.is_ready)
        assert airflow.runs() == runs
    assert len(runs) >= 6
    assert stack.release() == served
    assert stack.registry("history") == history
    assert stack.checkout.make("check").returncode == 0
    assert stack.checkout.make("down").returncode == 0


def works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
