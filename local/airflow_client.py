"""Airflow's REST API, as far as ``make up`` and the tests need it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from src.core import wine
from src.errors import StackError
from src.settings import StackSettings

DAG = wine.DAG_ID
ENDED = ("success", "failed")
PATIENCE = 60  # seconds that a busy machine may take for one answer
TASK_ENDED = ("success", "skipped", "failed", "upstream_failed", "removed")


class RunError(StackError):
    """A run of the DAG did not end well, or nobody can tell."""


class Airflow:
    """A client that is logged in."""

    def __init__(self, url: str, user: str, password: str) -> None:
        """Hold the address; nothing is asked yet."""
        self.url = url
        self._login = {"username": user, "password": password}
        self._client = httpx.Client(base_url=f"{self.url}/api/v2", timeout=PATIENCE)

    @classmethod
    def of(cls, settings: StackSettings) -> "Airflow":
        """Return the client of the stack on this machine."""
        url = f"http://127.0.0.1:{settings.airflow_port}"
        return cls(url, settings.airflow_user, settings.airflow_password.get_secret_value())

    def __enter__(self) -> "Airflow":
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._client.close()

    def is_ready(self) -> bool | None:
        """Say whether the API, the scheduler and the DAG processor are healthy and the DAG is loaded (else None)."""
        try:
            health = self._client.get("/monitor/health").json()
            parts = ("metadatabase", "scheduler", "dag_processor")
            if any(health[part]["status"] != "healthy" for part in parts):
                return None
            if "Authorization" not in self._client.headers:
                token = httpx.post(f"{self.url}/auth/token", json=self._login, timeout=PATIENCE).raise_for_status()
                self._client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
            return True if self._client.get(f"/dags/{DAG}").status_code == 200 else None
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    def find_or_trigger_run(self) -> str:
        """Return the id of the run that is under way; start one where none is, and none is due.

        Raises:
            RunError: a run is due, and the scheduler does not create it.

        """
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            runs = self._get(f"/dags/{DAG}/dagRuns", order_by="-run_after", limit=1)["dag_runs"]
            if runs and runs[0]["state"] not in ENDED:
                return str(runs[0]["dag_run_id"])
            due = self._get(f"/dags/{DAG}/details")["next_dagrun_run_after"]
            if due is None or datetime.fromisoformat(due) > datetime.now(UTC):
                return self.trigger()
            time.sleep(0.3)  # the scheduler is about to create the day's run
        raise RunError(f"no run of {DAG} starts; unpause it at {self.url}/dags/{DAG}, then run: make up")

    def trigger(self, dag: str = DAG) -> str:
        """Start a run and return its id."""
        return str(self._ask("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None})["dag_run_id"])

    def follow(self, run: str, seconds: float = 300, dag: str = DAG) -> Iterator[dict[str, Any]]:
        """Yield each task instance of a run as it ends.

        Raises:
            RunError: the run failed, or did not end within ``seconds``.

        """
        deadline = time.monotonic() + seconds
        seen: set[str] = set()
        while True:
            state = self._get(f"/dags/{dag}/dagRuns/{run}")["state"]
            for task in self._ended_tasks(run, dag):
                if task["task_id"] not in seen:
                    seen.add(task["task_id"])
                    yield task
            if state == "success":
                return
            if state == "failed" or time.monotonic() > deadline:
                raise RunError(f"run {run} is {state}; see {self.url}/dags/{dag}/runs/{run}")
            time.sleep(0.3)

    def tasks(self, run: str, dag: str = DAG) -> list[dict[str, Any]]:
        """Return a run's task instances as the REST API gives them."""
        tasks: list[dict[str, Any]] = self._get(f"/dags/{dag}/dagRuns/{run}/taskInstances")["task_instances"]
        return tasks

    def runs(self, dag: str = DAG) -> dict[str, str]:
        """Return the state of each run by its id, the last 100 of them."""
        listed = self._get(f"/dags/{dag}/dagRuns", order_by="-run_after", limit=100)["dag_runs"]
        return {run["dag_run_id"]: run["state"] for run in listed}

    def log(self, run: str, task: str, number: int = 1, dag: str = DAG) -> str:
        """Return what a task logged on its first try, or on another."""
        lines = self._get(f"/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{number}")["content"]
        return "\n".join(line["event"] for line in lines)

    def duration(self, run: str, dag: str = DAG) -> float:
        """Return the seconds from a run's start to its end."""
        times = self._get(f"/dags/{dag}/dagRuns/{run}")
        return (datetime.fromisoformat(times["end_date"]) - datetime.fromisoformat(times["start_date"])).total_seconds()

    def _ended_tasks(self, run: str, dag: str) -> list[dict[str, Any]]:
        ended = (task for task in self.tasks(run, dag) if task["state"] in TASK_ENDED)
        return sorted(ended, key=lambda task: task["end_date"] or "")

    def _get(self, path: str, **parameters: Any) -> Any:
        return self._ask("GET", path, params=parameters)

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        try:
            return self._client.request(method, path, **content).raise_for_status().json()
        except httpx.HTTPError as error:
            told = str(error).partition("\n")[0]
            raise RunError(f"Airflow does not answer {method} {path} ({told}); see: make logs") from error
