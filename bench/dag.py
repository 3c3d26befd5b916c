"""``make bench-dag``: the wall time of the daily DAG beside that of six empty tasks, on the same Airflow.

Where the time goes: Airflow itself takes about a second a task; importing pandas, scikit-learn, skl2onnx and DVC takes
two seconds a task, which ``workers/preload.py`` pays once; DVC's push and pull take 0.2 to 0.6 seconds each, most of it
in opening connections and listing the remote.
"""

import statistics
import sys

from local.airflow_client import DAG, Airflow
from local.env import read_env
from tests.support.throwaway import choose_ports, throwaway_checkout

ROUNDS = 5
LIMIT = 2.5
EMPTY = "six_empty_tasks"
EMPTY_DAG = f'''
from datetime import datetime
from airflow.sdk import chain, dag, task


@dag(dag_id="{EMPTY}", schedule=None, start_date=datetime(2026, 1, 1), is_paused_upon_creation=False)
def empty():
    @task
    def nothing():
        return None

    chain(*[nothing.override(task_id=f"task_{{number}}")() for number in range(6)])


empty()
'''


def measure(airflow: Airflow, dag: str) -> float:
    """Run a DAG once and return its wall time in seconds, from start to end."""
    run = airflow.trigger(dag)
    for _ in airflow.follow(run, dag=dag):
        pass
    return airflow.duration(run, dag)


def main() -> int:
    """Print both times and their ratio; returns 1 where it is above ``LIMIT``."""
    with throwaway_checkout() as checkout:
        choose_ports(checkout)
        (checkout.folder / "dags" / "empty.py").write_text(EMPTY_DAG)
        print("starting a stack of its own ...", flush=True)
        started = checkout.make("up")
        if started.returncode:
            print(started.stdout, file=sys.stderr)
            return 1
        settings, _ = read_env(checkout.folder / ".env")
        times: dict[str, list[float]] = {EMPTY: [], DAG: []}
        with Airflow.of(settings) as airflow:
            airflow.is_ready()
            for _ in range(ROUNDS):
                for dag, seconds in times.items():
                    seconds.append(measure(airflow, dag))
    medians = {dag: statistics.median(seconds) for dag, seconds in times.items()}
    for dag, seconds in times.items():
        print(f"{dag:18}{medians[dag]:6.1f} s  (median of {', '.join(f'{one:.1f}' for one in seconds)})")
    ratio = medians[DAG] / medians[EMPTY]
    print(f"{'ratio':18}{ratio:6.2f}    (at most {LIMIT})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
