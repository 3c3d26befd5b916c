"""The stack's processes: started and stopped through supervisor, and every one of them found again."""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil
from supervisor.xmlrpc import SupervisorTransport

from local.settings import STACK_HOME, StackSettings
from src.config import PROJECT
from src.errors import StackError
from src.settings import direct_loopback

LOGS = STACK_HOME / "logs"
SESSION = STACK_HOME / "session"  # supervisord's pid; outlives it, so that its session can still be found
CONFIG = PROJECT / "local" / "supervisord.conf"
AIRFLOW_PROGRAMS = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor")
PROGRAMS = ("store", "api", "front", *AIRFLOW_PROGRAMS)
_LONGEST_SOCKET = 100  # bytes; the kernel takes 107
T = TypeVar("T")


class StartError(StackError):
    """A service did not come up."""


def environment(settings: StackSettings, values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of every service; what ``.env`` says wins over what the shell has."""
    own = {
        "PROJECT": str(PROJECT),
        "STACK_HOME": str(STACK_HOME),
        "STACK_SOCKET": str(_socket()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "AIRFLOW_HOME": str(STACK_HOME / "airflow"),
        "AIRFLOW_CONFIG": str(PROJECT / "local" / "airflow.cfg"),
        "MINIO_ROOT_USER": settings.aws_access_key_id,
        "MINIO_ROOT_PASSWORD": settings.aws_secret_access_key.get_secret_value(),
    }
    foreign = ("PYTHONDONTWRITEBYTECODE", "AWS_PROFILE", "AWS_SESSION_TOKEN")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in foreign and not name.startswith("AIRFLOW_")
    }
    return inherited | dict(values) | own | direct_loopback(os.environ)


def start_supervisor(env: Mapping[str, str]) -> None:
    """Start supervisord, and with it the store, the API and the page."""
    LOGS.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--silent", "-c", str(CONFIG)]
    with (LOGS / "supervisord.out").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    SESSION.write_text(str(process.pid))

    def answers() -> bool | None:
        if process.poll() is not None:
            raise StartError(f"supervisord did not start: {(LOGS / 'supervisord.out').read_text().strip()[-500:]}")
        return True if states() else None

    wait_until("supervisord", answers, 30)


def start_programs(*names: str) -> None:
    """Start those programs that do not run."""
    running = states()
    for name in names:
        if running.get(name, {}).get("statename") not in ("RUNNING", "STARTING"):
            _call("startProcess", name, False)


def states() -> dict[str, dict[str, Any]]:
    """Return what supervisor knows of each program, by name; empty where it does not run."""
    try:
        return {state["name"]: state for state in _call("getAllProcessInfo")}
    except (OSError, xmlrpc.client.Error):
        return {}


def stop() -> int:
    """Stop every process of the stack, whoever its parent is now; returns how many there were."""
    processes = find_processes()
    try:
        _call("shutdown")
    except (OSError, xmlrpc.client.Error):
        pass  # it does not run, or is shutting down already
    psutil.wait_procs([process for process in processes if process.pid == _session()], timeout=30)
    stragglers = find_processes()
    for process in stragglers:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(stragglers, timeout=5)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=5)
    SESSION.unlink(missing_ok=True)
    return len(processes)


def find_processes() -> list[psutil.Process]:
    """Return the stack's processes: those of supervisord's session that work in the project's folder.

    Parents and groups are no guide: Airflow's children leave their group, outlive their parent, and write their titles
    over their environment.
    """
    session = _session()
    found = []
    for process in psutil.process_iter():
        try:
            if session and os.getsid(process.pid) == session and Path(process.cwd()) == PROJECT:
                found.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return found


def wait_until(what: str, check: Callable[[], T | None], seconds: float, program: str = "supervisord") -> T:
    """Call ``check`` until it returns something; that is the result.

    Raises:
        StartError: ``seconds`` went by, or the program ended for good.

    """
    deadline = time.monotonic() + seconds
    while (result := check()) is None:
        state = states().get(program, {}).get("statename", "not there")
        if time.monotonic() > deadline or state == "FATAL":
            raise StartError(f"{what} was not ready in time ({program} is {state}):\n{_last_lines(program)}")
        time.sleep(0.2)
    return result


def _last_lines(program: str, count: int = 5) -> str:
    log = LOGS / f"{program}.log"
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return "\n".join([*(f"  {line}" for line in lines), f"  (more in {log.relative_to(PROJECT)})"])


def _session() -> int | None:
    """Return the session of the supervisord that was started last; None where that was before the last reboot."""
    try:
        session, started = int(SESSION.read_text()), SESSION.stat().st_mtime
        leader_started = psutil.Process(session).create_time() if psutil.pid_exists(session) else started
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
    return session if psutil.boot_time() <= started and leader_started <= started + 1 else None


def _socket() -> Path:
    path = STACK_HOME / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"wine-{name}.sock"


def _call(method: str, *arguments: Any) -> Any:
    transport = SupervisorTransport(serverurl=f"unix://{_socket()}")
    with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
        return getattr(proxy.supervisor, method)(*arguments)


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        pass
