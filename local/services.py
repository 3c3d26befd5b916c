"""The stack's processes: started and stopped through supervisor, and every one of them found again."""

import hashlib
import os
import shlex
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

from local.env import FIELDS
from src.config import PROJECT
from src.errors import StackError
from src.settings import StackSettings, direct_loopback

STACK_HOME = PROJECT / ".stack"
LOGS = STACK_HOME / "logs"
ENVIRONMENTS = STACK_HOME / "environments"  # one file a program
SESSION = STACK_HOME / "session"  # supervisord's pid; outlives it, so that its session can still be found
CONFIG = PROJECT / "local" / "supervisord.conf"
AIRFLOW_PROGRAMS = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor")
PROGRAMS = ("store", "api", "front", *AIRFLOW_PROGRAMS)
_LONGEST_SOCKET = 100  # bytes; the kernel takes 107
T = TypeVar("T")


class StartError(StackError):
    """A service did not come up."""


def base_environment(settings: StackSettings) -> dict[str, str]:
    """Return what every service is given: the shell's variables without those of ``.env``, and the stack's own."""
    own = {
        "PROJECT": str(PROJECT),
        "STACK_HOME": str(STACK_HOME),
        "STACK_SOCKET": str(_socket()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "AIRFLOW_HOME": str(STACK_HOME / "airflow"),
        "AIRFLOW_CONFIG": str(PROJECT / "local" / "airflow.cfg"),
    }
    foreign = {"PYTHONDONTWRITEBYTECODE", "AWS_PROFILE", "AWS_SESSION_TOKEN", *FIELDS}
    inherited = {
        name: value for name, value in os.environ.items() if name not in foreign and not name.startswith("AIRFLOW_")
    }
    return inherited | own | {key: str(port) for key, port in settings.ports.items()} | direct_loopback(os.environ)


def own_variables(settings: StackSettings, values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return, by program, what it is told of ``.env``: its own settings, and no secret of another."""

    def told(*prefixes: str) -> dict[str, str]:
        return {key: value for key, value in values.items() if key.startswith(prefixes)}

    bucket, root = told("BUCKET", "AWS_"), (values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"])
    api = (values["API_ACCESS_KEY_ID"], values["API_SECRET_ACCESS_KEY"]) if settings.has_own_store else root
    airflow = {key: value for key, value in told("AIRFLOW_").items() if key != "AIRFLOW_PASSWORD"}
    alerts = bucket | told("ALERT_URLS")
    return {
        "store": dict(zip(("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"), root, strict=True)),
        "api": told("API_", "PREDICTION_LOG_", "TRUSTED_KEYS")
        | bucket
        | dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), api, strict=True)),
        "front": told("API_URL", "FRONT_API_KEY"),
        "airflow-api-server": airflow,
        "airflow-scheduler": airflow
        | alerts
        | told("API_URL", "CLEARML_", "GIT_COMMIT", "GUARD")  # its workers run the tasks
        | told("SIGNING_KEY", "TRUSTED_KEYS"),
        "airflow-dag-processor": airflow | alerts,  # it tells of runs that failed
    }


def write_environments(settings: StackSettings, values: Mapping[str, str]) -> None:
    """Write each program's variables where ``local/launch.sh`` reads them."""
    ENVIRONMENTS.mkdir(exist_ok=True)
    for program, variables in own_variables(settings, values).items():
        lines = (f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
        (ENVIRONMENTS / program).write_text("".join(lines))


def start_supervisor(env: Mapping[str, str]) -> None:
    """Start supervisord, and with it the store, the API and the page.

    As a daemon it has no standard error, where a log that cannot be written would end it.
    """
    LOGS.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(CONFIG)]
    done = subprocess.run(command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StartError(f"supervisord did not start: {(done.stderr or done.stdout).strip()[-500:]}")
    wait_until("supervisord", lambda: True if states() else None, 30)
    SESSION.write_text(str(_call("getPID")))


def start_programs(*names: str) -> None:
    """Start those programs that do not run, given up or not.

    Raises:
        StartError: supervisord cannot.

    """
    running = states()
    for name in names:
        state = running.get(name, {}).get("statename")
        try:
            if state == "BACKOFF":
                _call("stopProcess", name)  # or it would wait for its next try, and might be given up then
            if state not in ("RUNNING", "STARTING"):
                _call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            raise StartError(f"{name} cannot be started: {fault.faultString}") from fault


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
        StartError: ``seconds`` went by, or supervisor gave the program up.

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
