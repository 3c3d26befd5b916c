"""The distributed form without Docker: PostgreSQL, Valkey, Airflow's CeleryExecutor, and a folder for each machine."""

import base64
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from local.airflow_client import DAG, Airflow
from tests.support.databases import run_postgresql, run_redis
from tests.support.services import Program, eventually, free_port
from tests.support.throwaway import copy_project

USER = "admin"
HEARTBEAT_TIMEOUT = 15  # seconds until a task is taken for dead; a living one is seen every second
PATIENCE = 300  # seconds that a busy machine may take to start


@dataclass(frozen=True)
class Machine:
    """What no other machine sees: a checkout of the project, a home, a folder for temporary files, Airflow's own."""

    folder: Path

    @property
    def checkout(self) -> Path:
        """Return the folder of the project's copy."""
        return self.folder / "project"

    @property
    def home(self) -> Path:
        """Return the home of the user that runs everything here."""
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        """Return the folder that temporary files go to."""
        return self.folder / "tmp"

    def set_up(self) -> None:
        """Make the folders; in this checkout a task that failed is tried again after a second."""
        copy_project(self.checkout)
        dag = self.checkout / "dags" / "tasks.py"
        text, count = re.subn(r'("retry_delay": timedelta\(seconds)=\d+', r"\1=1", dag.read_text())
        assert count == 1
        dag.write_text(text)
        for name in ("home", "tmp", "airflow"):
            (self.folder / name).mkdir()

    def airflow(self, settings: Mapping[str, str], *arguments: str) -> Program:
        """Return one of Airflow's commands."""
        return self.run(settings, arguments[0], "airflow", *arguments)

    def run(self, settings: Mapping[str, str], name: str, module: str, *arguments: str) -> Program:
        """Return a Python module's command, which knows this machine's folders and the shared settings only."""
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "PYTHONPATH": str(self.checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.checkout / "dags"),
        }
        command = [sys.executable, "-m", module, *arguments]
        return Program(command, self.folder / f"{name}.log", own | dict(settings), self.checkout)

    def tries(self, run: str) -> set[tuple[str, int]]:
        """Return the tasks of a run that were run here, each with the number of its try, as their logs tell."""
        logs = (self.folder / "airflow" / "logs" / f"dag_id={DAG}" / f"run_id={run}").glob("task_id=*/attempt=*.log")
        return {(log.parent.name.partition("=")[2], int(log.stem.partition("=")[2])) for log in logs}


@dataclass(frozen=True)
class Cluster:
    """A running Airflow, and the machines that its workers run on."""

    airflow: Airflow
    workers: Mapping[Machine, Program]
    password: str


@contextmanager
def run_cluster(folder: Path, store: Mapping[str, str]) -> Iterator[Cluster]:
    """Run everything but the object store, which ``store`` names to each machine; nothing is left at the end."""
    head, *machines = (Machine(folder / name) for name in ("head", "worker-a", "worker-b"))
    for machine in (head, *machines):
        machine.set_up()
    with ExitStack() as stack:
        password, port = secrets.token_urlsafe(12), free_port()
        url = f"http://127.0.0.1:{port}"
        broker, database = stack.enter_context(run_redis(folder)), stack.enter_context(run_postgresql())
        shared = _shared_settings(url, broker, database, store["BUCKET"]) | dict(store)
        own = _head_settings(url, database)

        def start(machine: Machine, settings: Mapping[str, str], *command: str) -> Program:
            program = machine.airflow(settings, *command)
            stack.callback(program.kill)
            program.start()
            return program

        work = ("celery", "worker", "--skip-serve-logs", "--celery-hostname")
        workers = {machine: start(machine, shared, *work, f"{machine.folder.name}@%h") for machine in machines}
        migration = start(head, shared | own, "db", "migrate")
        assert migration.wait(PATIENCE) == 0, migration.log.read_text()
        login = {"AIRFLOW_USER": USER, "AIRFLOW_PASSWORD": password}
        make_login = head.run(shared | own | login, "login", "workers.login")
        make_login.start()
        assert make_login.wait(PATIENCE) == 0, make_login.log.read_text()
        address = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        commands = (("api-server", *address), ("scheduler", "--skip-serve-logs"), ("dag-processor",))
        programs = [*workers.values(), *(start(head, shared | own, *command) for command in commands)]

        def is_ready() -> bool | None:
            for program in programs:
                program.check()
            return airflow.is_ready() and len(ping_workers(broker)) == len(workers)

        airflow = stack.enter_context(Airflow(url, USER, password))
        eventually(is_ready)
        yield Cluster(airflow, workers, password)


def ping_workers(broker: str) -> dict[str, object]:
    """Return the answer of each Celery worker by its name."""
    with Celery(broker=broker) as client:
        return client.control.inspect(timeout=1).ping() or {}


def _shared_settings(url: str, broker: str, database: str, bucket: str) -> dict[str, str]:
    """Return what each machine is told: where the work comes from, where its result and log go, and no secret more."""
    return {"AIRFLOW_CONN_AWS_DEFAULT": "aws://"} | _variables(
        core={"executor": "CeleryExecutor", "load_examples": "False", "execution_api_server_url": f"{url}/execution/"},
        celery={
            "broker_url": broker,
            "result_backend": f"db+{database}",
            "worker_concurrency": "1",
            "extra_celery_config": json.dumps({"imports": ["workers.preload"]}),
        },
        workers={"min_heartbeat_interval": "1"},
        scheduler={
            "use_job_schedule": "False",
            "task_instance_heartbeat_timeout": str(HEARTBEAT_TIMEOUT),
            "task_instance_heartbeat_timeout_detection_interval": "1",
        },
        logging={
            "remote_logging": "True",
            "remote_base_log_folder": f"s3://{bucket}/logs",
            "remote_log_conn_id": "aws_default",
        },
    )


def _head_settings(url: str, database: str) -> dict[str, str]:
    """Return what only the API server, the scheduler and the DAG processor need to know."""
    return _variables(
        core={
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "auth_manager": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        },
        database={"sql_alchemy_conn": database},
        api={"base_url": url, "secret_key": secrets.token_hex(16)},
        api_auth={"jwt_secret": secrets.token_hex(32)},
    )


def _variables(**sections: Mapping[str, str]) -> dict[str, str]:
    return {
        f"AIRFLOW__{section}__{key}".upper(): value
        for section, settings in sections.items()
        for key, value in settings.items()
    }
