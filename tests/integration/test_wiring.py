"""The six steps are wired twice, in the DAG and in ``src/pipeline/run.py``: both the same way."""

import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from src.config import PROJECT
from src.core.pointer import Pointer
from src.pipeline import run, steps

MADE_BY = {
    "data": "pull_data",
    "split": "prepare_data",
    "challenger": "train_model",
    "tested": "test_model",
    "comparison": "check_metrics",
}
DESCRIBE = """
import json, sys
from inspect import signature
sys.path.insert(0, "dags")
import wine_quality
print("RESULT", json.dumps({task.task_id: {"after": sorted(task.upstream_task_ids),
      "takes": list(signature(task.python_callable).parameters)} for task in wine_quality.wine_quality().tasks}))
"""


def list_inputs(step: str) -> list[str]:
    """Return the names of what a step takes from other steps."""
    return [name for name in signature(getattr(steps, step)).parameters if name in MADE_BY]


def test_each_task_of_the_dag_takes_what_its_step_takes_from_the_steps_that_make_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE],
        cwd=PROJECT,
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")] or [done.stderr]
    tasks = json.loads(line.removeprefix("RESULT "))
    assert tuple(tasks) == run.STEPS
    for step, task in tasks.items():
        assert task["takes"] == list_inputs(step)
        assert task["after"] == sorted(MADE_BY[name] for name in list_inputs(step))


def test_a_run_from_the_shell_tells_the_same_steps_after_what_they_take(
    data_in_bucket: Pointer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", steps.log.name):
        run.run("test")
    told = list(dict.fromkeys(record.funcName for record in caplog.records if record.name == steps.log.name))
    assert tuple(told) == run.STEPS
    for number, step in enumerate(told):
        assert {MADE_BY[name] for name in list_inputs(step)} <= set(told[:number])
