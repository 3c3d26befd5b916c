"""The stack in containers, on the engine that docker reaches: ``make compose-test``.

The tests share the stack and follow one another, as a team's first days do: the images, the first run, an image with a
better parameter, and then everything that fails.
"""

import json
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import yaml

from local.airflow_client import ENDED, Airflow, RunError
from local.env import read_env
from src.config import PARAMETERS, PROJECT
from src.core.wine import EXAMPLE
from src.pipeline.run import STEPS
from src.settings import StackSettings
from tests.support import leaks
from tests.support.documents import blocks
from tests.support.gitlab import Project
from tests.support.newcomer import WORSE_C, log_in_to_airflow, predict_on_the_page, set_c
from tests.support.services import eventually
from tests.support.throwaway import Checkout, choose_ports, throwaway_checkout
from tests.support.tools import needs

pytestmark = pytest.mark.compose

BASE = "python:3.11-slim-bookworm"
TAG = "compose-test"
MEGABYTES = {"api": 260, "front": 450, "pipeline": 1100}  # over the base
FOREIGN = {  # what an image does not import, and so must not hold
    "api": ("airflow", "dvc", "pandas", "sklearn", "streamlit"),
    "front": ("airflow", "boto3", "dvc", "onnxruntime", "sklearn"),
    "pipeline": ("pytest", "streamlit"),
}
OWN = {"api": "src/api/app.py", "front": "front/front.py", "pipeline": "workers/login.py"}  # one file of each image
OURS = ("airflow-apiserver", "airflow-dag-processor", "airflow-scheduler", "airflow-worker", "api", "front")
PUBLISHED = {"8000/tcp", "8080/tcp", "8501/tcp", "9001/tcp"}
OUTAGE = 20  # seconds


@dataclass
class Stack:
    """A project of Compose in a checkout of its own, with two workers."""

    checkout: Checkout
    settings: StackSettings
    airflow: Airflow
    commit: str
    hosts: set[str] = field(default_factory=set)

    def compose(self, *arguments: str) -> str:
        return run("docker", "compose", *arguments, folder=str(self.checkout.folder))

    def up(self) -> None:
        """Start what does not run, and wait until every part is healthy or has done its work."""
        self.compose("up", "--wait", "--wait-timeout", "240", "--no-build", "--scale", "airflow-worker=2")
        eventually(self.airflow.is_ready)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def registry(self, command: str) -> str:
        return self.compose("exec", "-T", "airflow-scheduler", "python", "-m", "src.registry", command)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.settings.api_port}{path}"

    def predict(self) -> str:
        """Predict, and return the release that answered."""
        answer = httpx.post(self.url("/predict"), json=EXAMPLE, timeout=10).raise_for_status()
        return str(answer.json()["release"])

    def predict_or_none(self) -> str | None:
        try:
            return self.predict()
        except httpx.HTTPError:
            return None

    @contextmanager
    def store_hangs(self) -> Iterator[None]:
        """Freeze the store, so that what needs it neither ends nor fails yet."""
        (store,) = self.containers("minio")
        run("docker", "pause", store)
        try:
            yield
        finally:
            run("docker", "unpause", store)

    def await_task(self, name: str, wanted: str, run: str) -> dict[str, Any]:
        """Wait until a task of a run is in a state, and return it."""

        def found() -> dict[str, Any] | None:
            return next((t for t in self.airflow.tasks(run) if (t["task_id"], t["state"]) == (name, wanted)), None)

        return eventually(found)

    def finish(self, run: str) -> dict[str, dict[str, Any]]:
        """Wait for a run's end, through whatever outage, and return its tasks by name."""

        def ended() -> list[dict[str, Any]] | None:
            try:
                return self.airflow.tasks(run) if self.airflow.runs()[run] in ENDED else None
            except RunError:
                return None

        tasks = {task["task_id"]: task for task in eventually(ended, 300)}
        self.hosts |= {task["hostname"] for task in tasks.values() if task["hostname"]}
        return tasks


def run(*command: str, folder: str = ".") -> str:
    """Run a command and return what it prints; fail with all of it."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def image(target: str) -> str:
    return f"wine-quality-{target}:{TAG}"


def states(tasks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: task["state"] for name, task in tasks.items()}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Build the images, with a parameter that leaves room for a better one; nothing is started yet."""
    with pytest.MonkeyPatch.context() as monkeypatch, throwaway_checkout() as checkout:
        choose_ports(checkout)
        set_c(checkout, WORSE_C)
        project = Project(checkout)
        project.commit()
        commit = run("git", "rev-parse", "HEAD", folder=str(checkout.folder)).strip()
        environment = {
            "COMPOSE_PROJECT_NAME": f"wine-test-{secrets.token_hex(4)}",
            "IMAGE_TAG": TAG,
            "GIT_COMMIT": commit,
            "BUILD_NETWORK": "host",  # an engine without a way out of its bridge can build, too
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for name in ("SIGNING_KEY", "TRUSTED_KEYS"):  # the tests' own, which Compose would take before those of .env
            monkeypatch.delenv(name)
        settings, _ = read_env(checkout.folder / ".env")
        with Airflow.of(settings) as airflow:
            stack = Stack(checkout, settings, airflow, commit)
            stack.compose("build")
            try:
                yield stack
                print(stack.compose("logs", "--tail", "30"))
            finally:
                stack.compose("--profile", "*", "down", "--volumes", "--timeout", "20")


@pytest.mark.parametrize("target", MEGABYTES)
def test_an_image_is_small_and_unprivileged_and_holds_nothing_foreign(stack: Stack, target: str) -> None:
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, check=False).returncode:
        run("docker", "pull", BASE)  # BuildKit keeps the layers of a base, not its name
    sizes = [int(run("docker", "image", "inspect", "--format", "{{.Size}}", name)) for name in (image(target), BASE)]
    assert sizes[0] - sizes[1] <= MEGABYTES[target] * 1e6
    (description,) = json.loads(run("docker", "image", "inspect", image(target)))
    assert description["Config"]["User"] == "10001:10001"
    assert description["Config"]["Healthcheck"]["Test"]

    tools = "for name in cc gcc g++ make uv; do command -v $name; done"
    files = "ls -A /tmp; find / -xdev '(' -name '.env*' -o -path '*/.cache/*' ')' 2> /dev/null"
    assert run("docker", "run", "--rm", "--user", "0", image(target), "sh", "-c", f"{tools}; {files}; true") == ""
    assert run("docker", "run", "--rm", image(target), "id", "-u") == "10001\n"
    find = f"from importlib.util import find_spec; print([name for name in {FOREIGN[target]} if find_spec(name)])"
    assert run("docker", "run", "--rm", image(target), "python", "-c", find) == "[]\n"


@pytest.mark.parametrize("target", MEGABYTES)
def test_no_layer_of_an_image_holds_a_secret(stack: Stack, target: str) -> None:
    secrets = leaks.secrets_of(read_env(stack.checkout.folder / ".env")[1])
    told = run("docker", "image", "inspect", image(target)) + run("docker", "history", "--no-trunc", image(target))
    public = {"PACKAGE": b"Programming Language :: Python", "PROJECT": (PROJECT / OWN[target]).read_bytes()}
    found = leaks.find_leaks(secrets | public, leaks.layers(image(target)), iter([("description", told.encode())]))
    assert {one.rpartition(": ")[2] for one in found} == public.keys()


def test_each_missing_setting_stops_the_start_and_is_named(stack: Stack) -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (PROJECT / "docker-compose.yaml").read_text()))
    secret = {name.upper() for name in StackSettings.model_fields if re.search("password|secret|_key", name)}
    optional = {"CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY", "API_KEYS", "FRONT_API_KEY"}
    assert secret - optional <= required
    env = stack.checkout.folder / ".env"
    before = env.read_text()
    try:
        for name in sorted(required):
            env.write_text(re.sub(rf"^{name}=.*$", f"{name}=", before, flags=re.MULTILINE))
            with pytest.raises(AssertionError, match=f"set {name} in .env"):
                stack.compose("config")
    finally:
        env.write_text(before)


def test_the_example_of_an_override_is_a_valid_one(stack: Stack) -> None:
    files = ("-f", "docker-compose.yaml", "-f", "docker-compose.override.example.yaml")
    services = yaml.safe_load(stack.compose(*files, "config"))["services"]
    assert not {"minio", "postgres", "redis"} & services.keys()
    stack.compose(*files, "up", "--dry-run", "--no-build")
    assert "https://s3.example.com" in str(services["api"])
    assert not [name for name, one in services.items() if re.search("//minio|@postgres|@redis:", str(one))]


def test_everything_comes_up_healthy_and_the_first_daily_run_makes_a_release(stack: Stack) -> None:
    stack.up()
    scheduled = eventually(lambda: next(iter(stack.airflow.runs()), None))
    tasks = stack.finish(scheduled)
    assert states(tasks) == dict.fromkeys(STEPS, "success")
    release = eventually(stack.predict_or_none)
    assert release in stack.registry("history")


def test_only_four_ports_are_published_and_only_to_this_machine(stack: Stack) -> None:
    described = json.loads(run("docker", "inspect", *stack.compose("ps", "--quiet").split()))
    bindings = [one["HostConfig"]["PortBindings"] or {} for one in described]
    assert sorted(port for ports in bindings for port in ports) == sorted(PUBLISHED)
    assert {host["HostIp"] for ports in bindings for hosts in ports.values() for host in hosts} == {"127.0.0.1"}


def test_no_container_of_ours_can_write_to_its_root_or_shares_a_volume(stack: Stack) -> None:
    volumes: list[str] = []
    for service in OURS:
        for container in stack.containers(service):
            (described,) = json.loads(run("docker", "inspect", container))
            assert described["HostConfig"]["ReadonlyRootfs"]
            assert described["HostConfig"]["Memory"] > 0
            with pytest.raises(AssertionError, match="Read-only file system"):
                run("docker", "exec", container, "touch", "/app/written")
            volumes += [mount["Name"] for mount in described["Mounts"] if mount["Type"] == "volume"]
    assert [name.rpartition("_")[2] for name in volumes] == ["api-release"]


def test_a_new_image_ships_a_better_model_and_both_workers_share_the_tasks(stack: Stack) -> None:
    worse = stack.predict()
    set_c(stack.checkout, PARAMETERS["C"])
    stack.compose("build", "bootstrap")
    stack.up()
    tasks = stack.finish(stack.airflow.trigger())
    assert states(tasks) == dict.fromkeys(STEPS, "success")
    eventually(lambda: stack.predict() != worse)
    release = httpx.get(stack.url("/release"), timeout=10).json()
    assert release["meta"]["git_commit"] == stack.commit

    workers = {container[:12] for container in stack.containers("airflow-worker")}
    for _ in range(5):
        if workers <= stack.hosts:
            break
        assert states(stack.finish(stack.airflow.trigger()))["update_model"] == "skipped"
    assert len(workers) == 2
    assert workers <= stack.hosts


def test_airflows_home_says_why_its_triggerer_is_red(stack: Stack) -> None:
    show = "from airflow.settings import DASHBOARD_UIALERTS as shown; import airflow; print(shown)"
    command = f"import airflow.settings; airflow.settings.initialize(); {show}"
    assert "No triggerer is needed" in stack.compose("exec", "-T", "airflow-apiserver", "python", "-c", command)


def test_with_the_profile_prometheus_watches_the_api_and_knows_whom_to_tell(stack: Stack) -> None:
    parts = ("alertmanager", "prometheus")  # not Grafana, whose image cannot be had everywhere
    profile = ("--profile", "monitoring")
    stack.compose(*profile, "up", "--wait", "--wait-timeout", "120", "--no-build", "--no-deps", *parts)
    api = f"http://127.0.0.1:{stack.settings.prometheus_port}/api/v1"

    def asked(path: str, **parameters: str) -> Any:
        return httpx.get(f"{api}/{path}", params=parameters, timeout=10).raise_for_status().json()["data"]

    (found,) = eventually(lambda: asked("query", query="wine_release_info")["result"])
    assert found["metric"]["release"] == stack.predict()
    assert "WineApiDown" in str(asked("rules"))
    assert len(eventually(lambda: asked("alertmanagers")["activeAlertmanagers"])) == 1
    status = httpx.get(f"http://127.0.0.1:{stack.settings.alertmanager_port}/api/v2/status", timeout=10).json()
    assert "receiver: people" in status["config"]["original"]
    assert "webhook_configs" not in status["config"]["original"]
    described = [json.loads(run("docker", "inspect", *stack.containers(part)))[0] for part in parts]
    hosts = [host for one in described for hosts in one["HostConfig"]["PortBindings"].values() for host in hosts]
    assert {host["HostIp"] for host in hosts} == {"127.0.0.1"}
    assert all(one["HostConfig"]["ReadonlyRootfs"] for one in described)
    stack.compose(*profile, "rm", "--stop", "--force", *parts)


@needs("chromium")
def test_a_person_gets_a_prediction_from_the_page(stack: Stack) -> None:
    predict_on_the_page(f"http://127.0.0.1:{stack.settings.front_port}", stack.predict())


@needs("chromium")
def test_a_person_logs_in_to_airflow_and_with_no_other_password(stack: Stack) -> None:
    settings = stack.settings
    log_in_to_airflow(stack.airflow.url, settings.airflow_user, settings.airflow_password.get_secret_value())
    with Airflow(stack.airflow.url, settings.airflow_user, "another-password") as stranger:
        assert stranger.is_ready() is None


def test_a_tasks_log_is_read_whichever_worker_wrote_it(stack: Stack) -> None:
    run_id = stack.airflow.trigger()
    stack.finish(run_id)
    for task in STEPS[:-1]:
        eventually(lambda: f"s3://{stack.settings.bucket}/logs/" in stack.airflow.log(run_id, task))
    assert "same bytes as the champion" in stack.airflow.log(run_id, "check_metrics")


def test_a_killed_workers_task_is_run_again_by_the_other(stack: Stack) -> None:
    run_id = stack.airflow.trigger()
    stack.await_task("prepare_data", "success", run_id)
    with stack.store_hangs():  # so that train_model cannot end before its worker does
        victim = stack.await_task("train_model", "running", run_id)["hostname"]
        run("docker", "kill", victim)
    tasks = stack.finish(run_id)
    assert states(tasks) == dict.fromkeys(STEPS, "success") | {"update_model": "skipped"}
    assert tasks["train_model"]["try_number"] == 2
    assert tasks["train_model"]["hostname"] != victim
    stack.up()


def test_a_store_that_restarts_during_a_run_fails_neither_the_run_nor_the_api(stack: Stack) -> None:
    with stack.store_hangs():
        run_id = stack.airflow.trigger()
        stack.await_task("pull_data", "running", run_id)
    stack.compose("stop", "minio")
    served = stack.predict()
    stack.compose("restart", "api")
    assert eventually(stack.predict_or_none) == served
    stack.compose("start", "minio")
    assert states(stack.finish(run_id)) == dict.fromkeys(STEPS, "success") | {"update_model": "skipped"}
    assert stack.predict() == served
    eventually(lambda: httpx.get(stack.url("/healthcheck"), timeout=10).json()["status"] == "ok")


def test_a_run_goes_on_after_the_database_was_away(stack: Stack) -> None:
    with stack.store_hangs():
        run_id = stack.airflow.trigger()
        stack.await_task("pull_data", "running", run_id)
        stack.compose("stop", "postgres")
    time.sleep(OUTAGE)  # the outage itself
    stack.compose("start", "postgres")
    assert states(stack.finish(run_id)) == dict.fromkeys(STEPS, "success") | {"update_model": "skipped"}


def test_the_documented_backup_restores_champion_history_and_runs_into_new_volumes(stack: Stack) -> None:
    served, history, runs = stack.predict(), stack.registry("history"), stack.airflow.runs()
    assert len(runs) >= 6
    backup, restore = blocks("docs/reliability.md", "bash")
    run("sh", "-e", "-c", backup, folder=str(stack.checkout.folder))
    stack.compose("down", "--volumes", "--timeout", "20")
    run("sh", "-e", "-c", restore, folder=str(stack.checkout.folder))
    eventually(stack.airflow.is_ready)
    assert stack.predict() == served
    assert stack.registry("history") == history
    assert stack.airflow.runs() == runs
    for name in ("airflow.dump", "minio-data.tar.gz"):
        assert (stack.checkout.folder / name).stat().st_mode & 0o077 == 0


def test_champion_history_and_runs_outlive_the_containers_by_the_documented_commands(stack: Stack) -> None:
    served, history, runs = stack.predict(), stack.registry("history"), stack.airflow.runs()
    (block,) = blocks("docs/containers.md", "bash")
    *commands, last = block.splitlines()
    assert len(commands) >= 5 and last == "docker compose down"
    stack.compose("down", "--timeout", "20")
    run("sh", "-e", "-c", "\n".join(commands), folder=str(stack.checkout.folder))
    eventually(stack.airflow.is_ready)
    assert stack.predict() == served
    assert stack.registry("history") == history
    assert stack.airflow.runs() == runs
    run("sh", "-e", "-c", last, folder=str(stack.checkout.folder))
