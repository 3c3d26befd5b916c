"""Runs a DAG by ``dag.test()`` and prints its tasks as JSON; a program of its own, for Airflow's settings.

Takes the folder of DAGs and, where it is not the daily run, the DAG's id and the parameters of each run.
"""

import json
import sys
from datetime import timedelta

from airflow.dag_processing.dagbag import DagBag

from src.core import wine

dag = DagBag(sys.argv[1]).get_dag(sys.argv[2] if len(sys.argv) > 2 else wine.DAG_ID)
assert dag
for task in dag.tasks:
    task.retry_delay = timedelta(seconds=1)
for conf in sys.argv[3:] or ["{}"]:
    run = dag.test(run_conf=json.loads(conf))
    tasks = {task.task_id: {"state": task.state, "try": task.try_number} for task in run.get_task_instances()}
    print("RESULT", json.dumps({"state": run.state, "tasks": tasks}))
