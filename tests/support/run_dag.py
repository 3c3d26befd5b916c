"""Runs a DAG of a folder by ``dag.test()`` and prints its tasks as JSON; a program of its own, for Airflow's sake."""

import json
import sys
from datetime import timedelta

from airflow.dag_processing.dagbag import DagBag

from src.core import wine

dag = DagBag(sys.argv[1]).get_dag(sys.argv[2] if len(sys.argv) > 2 else wine.DAG_ID)
assert dag
for task in dag.tasks:
    task.retry_delay = timedelta(seconds=1)
run = dag.test()
tasks = {task.task_id: {"state": task.state, "try": task.try_number} for task in run.get_task_instances()}
print("RESULT", json.dumps({"state": run.state, "tasks": tasks}))
