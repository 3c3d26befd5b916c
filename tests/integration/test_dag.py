"""The DAG in a real Airflow: its shape, a whole run, and how it fails."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tests.support.documents import blocks, shows
from typing import Any

import httpx
import pytest

from src.config import PROJECT
from src.core import dataset
from src.core.pointer import Pointer
from src.core.run_decision import KEY, RunDecision
from src.core.wine import DAG_ID
from src.pipeline.run import STEPS
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket, content_key
from tests.conftest import committed_data, push_data
from tests.integration.test_api_limits import running
from tests.support.services import eventually
from tests.support.throwaway import throwaway_checkout
from tests.support.webhook import Webhook, webhook

DESCRIBE = """
import json, sys
sys.path.insert(0, "dags")
import {name}
heavy = ("apprise", "pandas", "sklearn", "dvc", "onnxruntime", "boto3", "skl2onnx", "matplotlib", "scipy")
loaded = [name for name in heavy if name in sys.modules]
dag = {name}.{name}()
tasks = {{task.task_id: {{"after": sorted(task.upstream_task_ids), "retries": task.retries, "doc": task.doc_md or "",
         "backoff": bool(task.retry_exponential_backoff), "callback": bool(task.on_failure_callback)}}
         for task in dag.tasks}}
print("RESULT", json.dumps({{"loaded": loaded, "tasks": tasks, "catchup": dag.catchup, "doc": dag.doc_md,
      "max_active_runs": dag.max_active_runs, "schedule": str(dag.schedule)}}))
"""

HOME = """
import json
from airflow.api_fastapi.core_api.routes.public.monitor import get_health
from airflow.api_fastapi.core_api.routes.ui.config import get_configs
alerts = [alert.model_dump() for alert in get_configs().dashboard_alert]
print("RESULT", json.dumps({"alerts": alerts, "triggerer": get_health().triggerer.status}))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of an Airflow with a database of its own."""
    home = tmp_path_factory.mktemp("airflow")
    env = {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(PROJECT), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    env["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, env=os.environ | env, check=True, capture_output=True)
    yield env


def run(airflow: Mapping[str, str], *arguments: str, folder: Path = PROJECT) -> tuple[dict[str, Any], str]:
    """Run Python in a checkout; returns what it printed as its last result, and its log."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | airflow | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    log = done.stdout + done.stderr
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert results, log
    return json.loads(results[-1].removeprefix("RESULT ")), log


def run_dag(airflow: Mapping[str, str], folder: Path = PROJECT, dag: str = DAG_ID) -> tuple[dict[str, Any], str]:
    return run(airflow, "tests/support/run_dag.py", "dags", dag, folder=folder)


def test_the_dag_is_the_documented_one_and_parses_without_heavy_imports(airflow: dict[str, str]) -> None:
    dag, _ = run(airflow, "-c", DESCRIBE.format(name="wine_quality"))
    assert dag["loaded"] == []
    assert tuple(dag["tasks"]) == STEPS
    assert dag["tasks"]["update_model"]["after"] == ["check_metrics", "test_model"]
    assert (dag["catchup"], dag["max_active_runs"], dag["schedule"]) == (False, 1, "@daily")
    assert "Train, prove, ship" in dag["doc"]
    for task in dag["tasks"].values():
        assert task["retries"] == 2
        assert task["backoff"] and task["callback"] and task["doc"]


def test_airflows_home_says_that_its_red_triggerer_is_not_needed(airflow: dict[str, str]) -> None:
    home, _ = run(airflow, "-c", HOME)
    assert home["triggerer"] is None  # which the page shows in red
    (alert,) = home["alerts"]
    assert alert["category"] == "info" and alert["text"].startswith("**No triggerer is needed:**")


def test_monitoring_is_one_task_that_parses_without_heavy_imports_and_is_tried_as_the_daily_run_s(
    airflow: dict[str, str],
) -> None:
    dag, _ = run(airflow, "-c", DESCRIBE.format(name="wine_monitoring"))
    assert dag["loaded"] == [] and list(dag["tasks"]) == ["measure_day"]
    assert (dag["catchup"], dag["max_active_runs"], dag["schedule"]) == (False, 1, "30 0 * * *")
    task = dag["tasks"]["measure_day"]
    assert task["retries"] == 2 and task["backoff"] and task["callback"] and task["doc"]


def test_monitoring_measures_yesterday_or_the_day_that_a_person_gives(airflow: dict[str, str], bucket: Bucket) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    done, log = run(airflow, "tests/support/run_dag.py", "dags", "wine_monitoring", "{}", '{"date": "2026-03-01"}')
    assert log.count(f"RESULT {json.dumps(done)}") == 2
    assert done == {"state": "success", "tasks": {"measure_day": {"state": "success", "try": 1}}}, log
    for day in (yesterday, date(2026, 3, 1)):
        assert f"{day}: 0 wines" in log
        assert {f"monitoring/{day}.json", f"monitoring/{day}.html"} <= {*bucket.list("monitoring/")}


def test_a_run_makes_the_first_champion(airflow: dict[str, str], bucket: Bucket, data_in_bucket: Pointer) -> None:
    done, log = run_dag(airflow)
    assert done["state"] == "success", log
    assert {task["state"] for task in done["tasks"].values()} == {"success"}
    champion = Registry(bucket).current()
    assert champion and champion.meta["task"] == "wine_quality.train_model"
    decided = RunDecision.read_json(bucket.get(KEY), KEY)
    assert (decided.release, decided.run) == (champion.id, champion.meta["run_id"])


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """Return the webhook that is told."""
    with webhook() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        yield receiver


def test_bytes_that_no_retry_can_repair_fail_at_once_by_one_clear_line(
    airflow: dict[str, str], bucket: Bucket, trained: list[Pointer], receiver: Webhook
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    key = content_key(committed_data().md5)
    table = bucket.get(key)
    bucket.put(key, b"[]")
    failed, log = run_dag(airflow)
    assert failed["state"] == "failed"
    assert failed["tasks"]["pull_data"] == {"state": "failed", "try": 1}
    assert failed["tasks"]["update_model"]["state"] == "upstream_failed"
    assert "wine_quality.pull_data failed in run" in log
    assert "IntegrityError: " in log
    assert "direct cause" not in log and "During handling" not in log
    lines = log.splitlines()
    (last,) = [place for place, line in enumerate(lines) if "wine_quality.pull_data failed in run" in line]
    assert "::endgroup::" in lines[last - 1] and "\x1b" not in lines[last]
    champion = Registry(bucket).current()
    assert champion and champion.md5 == trained[0].md5

    (told,) = receiver.posts
    assert told["title"] == "wine: run of wine_quality"
    assert "of wine_quality failed in pull_data; its log: http" in told["message"]
    assert told["message"].endswith("run: airflow dags trigger wine_quality")
    printed = f"{told['title']}\n{told['message']}".replace("manual__", "scheduled__").replace("localhost", "127.0.0.1")
    assert shows(blocks("docs/alerts.md", "")[1], printed, same_figures=False), printed
    bucket.put(key, table)
    done, log = run_dag(airflow)
    assert done["state"] == "success", log
    assert receiver.titles[1:] == ["wine: run of wine_quality is over"]


def test_the_watch_remembers_from_check_to_check(
    airflow: dict[str, str], bucket: Bucket, trained: list[Pointer], receiver: Webhook, tmp_path: Path
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    with running(tmp_path) as api:
        url = {"API_URL": api.url.removesuffix("/liveness")}
        bucket.put(CURRENT, b"nonsense")
        eventually(lambda: httpx.get(f"{url['API_URL']}/healthcheck").json()["rejected"])
        done, log = run(airflow | url, "tests/support/run_dag.py", "dags", "wine_watch", "{}", "{}")
        assert done["state"] == "success" and log.count(f"RESULT {json.dumps(done)}") == 2, log
    assert receiver.titles == ["wine: rejected release"]


def test_a_store_that_is_unreachable_is_tried_again_and_then_fails(
    airflow: dict[str, str], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    failed, log = run_dag(airflow)
    assert failed["state"] == "failed"
    assert failed["tasks"]["pull_data"] == {"state": "failed", "try": 3}
    assert log.count("wine_quality.pull_data failed in run") == 1
    assert "try 3: the store does not answer" in log


def test_a_table_in_other_units_is_held_at_once_and_the_champion_stays(
    airflow: dict[str, str], bucket: Bucket, trained: list[Pointer], data_csv: Path, tmp_path: Path
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    table = dataset.read(data_csv)
    dataset.write(table.assign(alcohol=table["alcohol"] / 100), tmp_path / "new.csv")
    with throwaway_checkout() as checkout:
        (checkout.folder / "data.dvc").write_text(push_data(bucket, tmp_path / "new.csv").to_yaml())
        failed, log = run_dag(airflow, checkout.folder)
    assert failed["state"] == "failed", log
    assert failed["tasks"]["pull_data"] == {"state": "failed", "try": 1}
    assert "DataError: held: alcohol shifted" in log
    champion = Registry(bucket).current()
    assert champion and champion.md5 == trained[0].md5
