"""The distributed form, from real parts: two Celery workers share a database, a broker and the bucket, nothing else.

The tests of this module share the cluster and follow one another: the last one kills a worker.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.airflow_client import Airflow
from src.pipeline.run import STEPS
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.conftest import ACCESS_KEY, SECRET_KEY, new_bucket, push_data
from tests.support.distributed import USER, Cluster, Machine, run_cluster
from tests.support.newcomer import log_in_to_airflow
from tests.support.services import Service, eventually, gateway
from tests.support.tools import needs

RUNS = 5
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run an object store that only this module uses, so that it may hang."""
    service = gateway(tmp_path_factory.mktemp("store"), ACCESS_KEY, SECRET_KEY)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def bucket(store: Service, data_csv: Path) -> Iterator[Bucket]:
    """Return a bucket with the data, which the environment names."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(store, monkeypatch)
        push_data(bucket, data_csv)
        yield bucket


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, bucket: Bucket) -> Iterator[Cluster]:
    """Run Airflow on PostgreSQL and Valkey with two workers."""
    names = ("BUCKET", "AWS_", "SIGNING_KEY", "TRUSTED_KEYS")
    access = {name: value for name, value in os.environ.items() if name.startswith(names)}
    with run_cluster(tmp_path_factory.mktemp("cluster"), access) as cluster:
        yield cluster


def run_dag(cluster: Cluster) -> str:
    """Run the DAG to its end; returns the run's id."""
    run = cluster.airflow.trigger()
    for _ in cluster.airflow.follow(run):
        pass
    return run


def states(cluster: Cluster, run: str) -> dict[str, str | None]:
    return {task["task_id"]: task["state"] for task in cluster.airflow.tasks(run)}


def files(machine: Machine) -> set[Path]:
    """Return every file that a task might have left for another one on its machine."""
    return {path for folder in (machine.checkout, machine.home, machine.temporary) for path in folder.rglob("*")}


def test_each_worker_forks_its_tasks_with_the_libraries_in_memory(cluster: Cluster) -> None:
    for worker in cluster.workers.values():
        (pool,) = (process for process in worker.processes() if "ForkPoolWorker" in process.cmdline()[0])
        memory = " ".join(part.path for part in pool.memory_maps())
        assert all(f"/{library}/" in memory for library in ("pandas", "sklearn", "onnxruntime"))


@needs("chromium")
def test_a_person_logs_in_with_an_account_of_airflows_database_and_with_no_other_password(cluster: Cluster) -> None:
    log_in_to_airflow(cluster.airflow.url, USER, cluster.password)
    with Airflow(cluster.airflow.url, USER, f"{cluster.password}x") as stranger:
        assert stranger.is_ready() is None


def test_two_workers_share_runs_and_their_logs_through_the_bucket_alone(cluster: Cluster, bucket: Bucket) -> None:
    before = {machine: files(machine) for machine in cluster.workers}
    runs = [run_dag(cluster)]
    assert states(cluster, runs[0]) == dict.fromkeys(STEPS, "success")
    champion = Registry(bucket).current()
    assert champion and champion.meta["run_id"] == runs[0]
    assert Registry(bucket).releases() == [champion.id]
    while not all(any(machine.tries(run) for run in runs) for machine in cluster.workers):
        assert len(runs) < RUNS, "only one worker works"
        runs.append(run_dag(cluster))
    assert {machine: files(machine) - before[machine] for machine in before} == dict.fromkeys(before, set())
    where = {task: machine for machine in cluster.workers for task, _ in machine.tries(runs[0])}
    assert where.keys() == set(STEPS)
    for task, machine in where.items():
        eventually(lambda: str(machine.checkout) in cluster.airflow.log(runs[0], task))


def test_a_task_whose_worker_is_killed_is_run_again_by_the_other(cluster: Cluster, store: Service) -> None:
    run = cluster.airflow.trigger()
    eventually(lambda: states(cluster, run)["prepare_data"] == "success", PATIENCE)
    first_try = ("train_model", 1)
    with store.paused():
        eventually(lambda: states(cluster, run)["train_model"] == "running", PATIENCE)
        (killed,) = (machine for machine in cluster.workers if first_try in machine.tries(run))
        (other,) = cluster.workers.keys() - {killed}
        cluster.workers[killed].kill()
    ended = {task["task_id"]: task for task in cluster.airflow.follow(run)}
    assert (ended["train_model"]["state"], ended["train_model"]["try_number"]) == ("success", 2)
    assert ("train_model", 2) in other.tries(run)
