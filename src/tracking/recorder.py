"""ClearML in a process of its own: what it hooks, waits for or leaks is then not the search's.

Both ends of the pipe are here. A run goes down as one line of JSON, and one line comes back: what went wrong, or null,
and the page of the task that came of it, or null. The first line comes unasked, once ClearML is imported and its server
has answered.
"""

import json
import os
import select
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src.config import PROJECT
from src.errors import TrackingError

PING_SECONDS = 5.0
# What a task's results depend on; ClearML would read the imports of every file in the project, 0.5 s a task.
LIBRARIES = ("numpy", "pandas", "scikit-learn")
REQUIREMENTS = "requirements.txt"

# Out of the box, closing a task waits 11 s for the reporting subprocess, and a lost server is tried 240 times. The
# first key works from this file alone: set at run time it changes nothing.
_CONFIG = """\
sdk.development.report_use_subprocess: false
sdk.development.store_uncommitted_code_diff: false
sdk.storage.cache.default_base_dir: "{folder}"
api.http.wait_on_maintenance_forever: false
api.http.retries {{ total: 1, connect: 1, read: 1, redirect: 1, status: 1, backoff_factor: 0.1, backoff_max: 1.0 }}
"""


def make_environment(folder: Path, online: bool) -> dict[str, str]:
    """Write ClearML's configuration into ``folder``, where offline sessions go too, and return its variables."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "clearml.conf"
    config.write_text(_CONFIG.format(folder=folder))
    (folder / REQUIREMENTS).write_text("".join(f"{name}=={version(name)}\n" for name in LIBRARIES))
    return {"CLEARML_CONFIG_FILE": str(config), "CLEARML_OFFLINE_MODE": str(int(not online))}


def ping(host: str) -> None:
    """Make sure that ClearML's API at ``host`` answers.

    Raises:
        TrackingError: it does not, within ``PING_SECONDS``.

    """
    try:
        with urllib.request.urlopen(f"{host.rstrip('/')}/debug.ping", timeout=PING_SECONDS):
            pass
    except (OSError, ValueError) as error:
        raise TrackingError(f"{host} does not answer: {error}") from error


class Recorder:
    """The near end of the pipe; every method waits at most ``patience`` seconds."""

    def __init__(self, project: str, folder: Path, host: str | None, patience: float) -> None:
        """Start a recorder: to the server at ``host``, or to offline sessions in ``folder`` where that is None."""
        self._patience = patience
        self._log = folder / "recorder.log"
        environment = os.environ | make_environment(folder, online=host is not None)
        command = [sys.executable, "-m", "src.tracking.recorder", project, *([host] if host else [])]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environment,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is the search's
            )

    def wait(self) -> str | None:
        """Wait until the last line is dealt with; returns the page of the task that came of it, where there is one.

        Raises:
            TrackingError: it failed, or no answer came in time.

        """
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], self._patience)[0]:
            raise TrackingError(f"no answer in {self._patience:g} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise TrackingError(f"its process ended; {self._log.name} in {self._log.parent} says why")
        told = json.loads(answer)
        if told["error"]:
            raise TrackingError(told["error"])
        link: str | None = told["link"]
        return link

    def send(self, run: Mapping[str, Any]) -> None:
        """Have a run recorded; the last one must have been waited for.

        Raises:
            TrackingError: the recorder's process ended.

        """
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(run).encode() + b"\n")
        except OSError as error:
            raise TrackingError(f"its process ended: {error}") from error

    def end(self, at_once: bool = False) -> None:
        """End the process; without ``at_once`` it may finish what it was sent."""
        assert self._process.stdin and self._process.stdout
        if not at_once:
            self._process.stdin.close()
            try:
                self._process.wait(self._patience)
            except subprocess.TimeoutExpired:
                pass
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def main(project: str, host: str | None = None) -> None:
    """Record the runs that come down the pipe, until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what ClearML prints goes to the log
    try:
        if host:
            ping(host)
        sys.modules["pandas"] = None  # type: ignore[assignment]  # ClearML does without: half of its import's time
        import clearml  # noqa: F401
    except TrackingError as error:
        print(json.dumps({"error": str(error)}), file=answers)
        return
    print(json.dumps({"error": None, "link": None}), file=answers)
    for line in sys.stdin:
        problem, link = None, None
        try:
            page = _record(project, json.loads(line))
            link = page if host else None
        except Exception as error:  # ClearML's errors share no base class; the near end decides what follows
            problem = f"{type(error).__name__}: {error}"
        print(json.dumps({"error": problem, "link": link}), file=answers)


def _record(project: str, run: Mapping[str, Any]) -> str:
    from clearml import Task

    requirements = Path(os.environ["CLEARML_CONFIG_FILE"]).with_name(REQUIREMENTS)
    Task.force_requirements_env_freeze(requirements_file=str(requirements))
    task: Any = Task.init(
        project_name=project,
        task_name=run["name"],
        tags=list(run["tags"]),
        reuse_last_task_id=False,
        output_uri=False,
        auto_connect_arg_parser=False,
        auto_connect_frameworks=False,
        auto_connect_streams=False,
        auto_resource_monitoring=False,
    )
    task.connect(dict(run["parameters"]), name="parameters")
    logger = task.get_logger()
    for part, scores in run["scores"].items():
        for name, value in scores.items():
            logger.report_single_value(f"{part} {name}", value)
    if run["confusion"]:
        labels = [str(label) for label in run["classes"]]
        logger.report_confusion_matrix(
            "Confusion matrix",
            "test",
            matrix=run["confusion"],
            iteration=0,
            xaxis="predicted",
            yaxis="true",
            xlabels=labels,
            ylabels=labels,
        )
    task.upload_artifact("result", dict(run))
    task.close()
    if run["error"]:
        task.mark_failed(status_message=run["error"], force=True)  # close() marks it completed
    page: str = task.get_output_log_web_page()
    return page


if __name__ == "__main__":
    main(*sys.argv[1:])
