"""The whole stack on one machine: ``python -m local.stack env | up | down | status | backup | restore``; for make."""

import argparse
import fcntl
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from local import archive, services
from local import backup as state
from local.airflow_client import Airflow
from local.archive import BackupError
from local.env import ENV, add_missing_keys, read_env, write_env
from local.services import AIRFLOW_PROGRAMS, PROGRAMS, STACK_HOME, StartError, wait_until
from src.config import PROJECT
from src.core.wine import EXAMPLE
from src.errors import ConfigError, StackError
from src.run_dvc import name_remote
from src.settings import AccessSettings, StackSettings, read_settings
from src.storage.bucket import Bucket
from src.storage.first_state import publish_data
from src.storage.users import create_api_user

TOOLS = ("git", "juicefs", "airflow", "dvc", "streamlit", "uvicorn")
START = time.monotonic()
SILENCE = 4.0  # seconds without a word, after which one is said
CLEAR = "\r\x1b[K"  # empties the line of a terminal
ROOM = 16  # MB; a disk with less left is full
LOCK = STACK_HOME / "lock"
ENV_COPY = STACK_HOME / "env"  # what the running services were started with
DATA = ("store", "airflow")  # folders of STACK_HOME that a restore fills
RESTORING = STACK_HOME / "restoring"  # names the backup that is being restored, until its last object is there
_spoke = START  # when the last word was said


def env() -> None:
    """Write ``.env`` where there is none; where there is one, add the keys it lacks and check it."""
    if write_env():
        print("Wrote .env with random secrets (mode 600).")
    elif added := add_missing_keys():
        print(f"Added to .env: {', '.join(added)}.")
    else:
        print(".env is there already.")
    read_env()


def up() -> None:
    """Start what does not run, make the first release where there is none, and show what is served."""
    os.umask(0o077)
    STACK_HOME.mkdir(exist_ok=True)
    with _alone():
        _up()


def _up() -> None:
    if RESTORING.exists():
        raise BackupError(f"a restore was cut short; begin it anew with: make restore FILE={RESTORING.read_text()}")
    if write_env():
        say("wrote .env with random secrets (mode 600)")
    settings, values, env = _prepare()
    if services.states() and ENV_COPY.exists() and ENV_COPY.read_bytes() != ENV.read_bytes():
        raise ConfigError(".env changed since the stack was started; run: make down, then make up")
    if all(state["statename"] == "RUNNING" for state in _states_of(PROGRAMS)) and (release := _release(settings)):
        print("Everything is up already.")
        _show_summary(settings, release)
        return
    if full := _tell_full_disk():
        raise StackError(full)
    _bring_up(settings, values, env, lambda: None)


def _bring_up(
    settings: StackSettings, values: dict[str, str], env: dict[str, str], fill_store: Callable[[], None]
) -> None:
    """Start everything that does not run, the store first, and show what is served in the end."""
    with never_silent():
        migration = _start(settings, values, env)
        fill_store()
        publish_data(say)
        if settings.has_own_store:
            create_api_user(Bucket.from_environment(), read_settings(AccessSettings), say)
        name_remote(Bucket.from_environment())
        with Airflow.of(settings) as airflow:
            _start_airflow(migration, airflow)
            release = _release(settings) or _make_first_release(settings, airflow)
    _show_summary(settings, release)


def down() -> None:
    """Stop every process and keep the data."""
    count = services.stop()
    print(f"Stopped {count} processes; the data stays in {STACK_HOME.name}/." if count else "Nothing was running.")


def backup(with_secrets: bool = False) -> None:
    """Write the bucket, Airflow's database and, ``with_secrets``, ``.env`` to one file, while everything goes on."""
    _prepare()
    now = datetime.now(UTC)
    path = PROJECT / f"backup-{now:%Y%m%dT%H%M%SZ}.tar.gz"
    archive.write(path, state.read_stack(with_secrets), now.isoformat(timespec="seconds"))
    parts = archive.check(path).parts
    secrets = "with" if with_secrets else "without"
    print(f"Wrote {path.name}: {len(parts)} parts, {path.stat().st_size / 1e6:.1f} MB, {secrets} the secrets of .env.")


def restore(file: str = "") -> None:
    """Fill a stack that holds nothing yet with what a backup holds, and start it.

    Raises:
        BackupError: the file is no whole backup, or this stack holds something; nothing was changed then.

    """
    if not file:
        raise BackupError("name the backup, as: make restore FILE=backup-….tar.gz")
    path = Path(file).resolve()
    archive.check(path)
    os.umask(0o077)
    STACK_HOME.mkdir(exist_ok=True)
    with _alone():
        if services.states():
            raise BackupError("the stack runs; stop it first with: make down")
        if RESTORING.exists():
            _delete_restored()
        if any((STACK_HOME / name).exists() for name in DATA):
            raise BackupError(f"this stack holds data; move it away with: mv {STACK_HOME.name} {STACK_HOME.name}.old")
        say(state.restore_env(path))
        settings, values, env = _prepare()
        RESTORING.write_text(file)
        try:
            state.restore_airflow(path)
            _bring_up(settings, values, env, partial(_fill_bucket, path))
        finally:
            if RESTORING.exists():
                _delete_restored()


def _fill_bucket(path: Path) -> None:
    count = state.restore_bucket(path, Bucket.from_environment())
    RESTORING.unlink()
    say(f"restored {count} objects from {path.name}")


def _delete_restored() -> None:
    """Leave nothing of a restore that was cut short."""
    services.stop()
    for name in DATA:
        shutil.rmtree(STACK_HOME / name, ignore_errors=True)
    RESTORING.unlink()


def status() -> None:
    """Show each service, the API's health, and the memory that all share; exit 1 where something is wrong."""
    settings, *_ = _prepare()
    states = services.states()
    for name in PROGRAMS:
        state = states.get(name)
        print(f"{name:24}{state['statename'] if state else 'STOPPED':10}{state['description'] if state else ''}")
    memory = sum(_memory(process) for process in services.find_processes())
    print(f"{'memory (PSS)':24}{memory / 2**20:.0f} MiB")
    try:
        health = _http().get(f"{_api(settings)}/healthcheck").json()
    except httpx.HTTPError as error:
        raise StackError(f"the API does not answer ({type(error).__name__}); start the stack with: make up") from error
    print(f"{'API':24}{health['status']}, release {health['release'] or 'none'}")
    if health["status"] != "ok" or any(state["statename"] != "RUNNING" for state in _states_of(PROGRAMS)):
        raise StackError("not everything is well; see: make logs")


def say(text: str) -> None:
    """Print a step, with the seconds since the command began."""
    global _spoke
    _spoke = time.monotonic()
    print(f"{CLEAR if sys.stdout.isatty() else ''}[{_spoke - START:4.0f} s] {text}", flush=True)


@contextmanager
def never_silent() -> Iterator[None]:
    """Say every few seconds that the last step still goes on; on a terminal in one line that is live."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            if sys.stdout.isatty():
                print(f"{CLEAR}[{time.monotonic() - START:4.0f} s] …", end="", flush=True)
            elif time.monotonic() - _spoke > SILENCE:
                say("… still at it")

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()
        if sys.stdout.isatty():
            print(CLEAR, end="", flush=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Let one ``make up`` after the other do its work."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make up is at work; waiting for it")
            with never_silent():
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare() -> tuple[StackSettings, dict[str, str], dict[str, str]]:
    """Read ``.env`` and make it this process's environment; also return its values, and what every service is given."""
    settings, values = read_env()
    env = services.base_environment(settings)
    os.environ.clear()
    os.environ.update(env | values)
    return settings, values, env


def _start(settings: StackSettings, values: dict[str, str], env: dict[str, str]) -> "subprocess.Popen[bytes] | None":
    """Start what Airflow does not need, and the migration of its database, which is returned."""
    if services.states():
        services.start_programs("store", "api", "front")
    else:
        services.stop()
        _check_machine(settings)
        _format_store(env)
        shutil.copyfile(ENV, ENV_COPY)
        services.write_environments(settings, values)
        services.start_supervisor(env)
    airflow_runs = all(state["statename"] == "RUNNING" for state in _states_of(AIRFLOW_PROGRAMS))
    migration = None if airflow_runs else _migrate_airflow(settings, env)
    say("starting the object store, the API and the page")
    wait_until("the object store", lambda: _answers(f"http://127.0.0.1:{settings.s3_port}"), 30, "store")
    say(f"object store: ready on 127.0.0.1:{settings.s3_port}")
    return migration


def _check_machine(settings: StackSettings) -> None:
    if wrong := next((sign for sign in '%"$\\' if sign in str(STACK_HOME)), None):
        raise ConfigError(f"the path {STACK_HOME.parent} has a {wrong} in it; move the project to one without")
    for tool in TOOLS:
        if not shutil.which(tool):
            raise ConfigError(f"{tool} is not installed; install it, then run: make up")
    ports = settings.ports
    for key, port in ports.items():
        if twin := next((other for other in ports if other != key and ports[other] == port), None):
            raise ConfigError(f"{key} and {twin} are both {port} in .env; give each its own")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ConfigError(
                    f"port {port} is busy{_who_has(port)}; set another {key} in .env, or stop what listens there"
                ) from error


def _tell_full_disk() -> str | None:
    """Return the sentence about the disk that has no room for what the stack writes, where there is one."""
    folders = (STACK_HOME, PROJECT, Path(os.environ.get("TMPDIR") or tempfile.gettempdir()))
    for folder in filter(Path.exists, folders):
        if (free := shutil.disk_usage(folder).free // 2**20) < ROOM:
            return f"the disk of {folder} is full ({free} MB left); free some space, then: make up"
    return None


def _format_store(env: dict[str, str]) -> None:
    store = STACK_HOME / "store"
    store.mkdir(parents=True, exist_ok=True)
    if (store / "meta.db").exists():
        return
    command = [
        "juicefs",
        "--no-agent",
        "format",
        "--storage",
        "file",
        "--bucket",
        f"{store}/objects/",
        "--trash-days",
        "0",
        f"sqlite3://{store}/meta.db",
        "wine",
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        (store / "meta.db").unlink(missing_ok=True)
        raise StartError(f"the object store could not be formatted: {done.stderr.strip()[-500:]}")


def _migrate_airflow(settings: StackSettings, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    home = STACK_HOME / "airflow"
    home.mkdir(exist_ok=True)
    passwords = home / "passwords.json"
    passwords.touch(0o600)
    passwords.write_text(json.dumps({settings.airflow_user: settings.airflow_password.get_secret_value()}))
    with (services.LOGS / "airflow-migration.log").open("wb") as log:
        command = ["sh", "local/launch.sh", "airflow-api-server", "airflow", "db", "migrate"]
        return subprocess.Popen(command, cwd=PROJECT, env=env, stdout=log, stderr=log)


def _start_airflow(migration: "subprocess.Popen[bytes] | None", airflow: Airflow) -> None:
    if migration and migration.wait():
        raise StartError(f"Airflow's database could not be prepared; see {STACK_HOME.name}/logs/airflow-migration.log")
    services.start_programs(*AIRFLOW_PROGRAMS)
    say("starting Airflow")
    wait_until("Airflow", airflow.is_ready, 240, "airflow-api-server")
    say(f"Airflow: ready on {airflow.url}")


def _make_first_release(settings: StackSettings, airflow: Airflow) -> dict[str, Any]:
    if rejected := _find_rejected(settings):
        raise StackError(f"the API rejects the champion: {rejected}; then: make up")
    run = airflow.find_or_trigger_run()
    say(f"the daily run makes the first release: {run}")
    for task in airflow.follow(run):
        say(f"  {task['task_id']:14}{task['state']:10}{task['duration'] or 0:5.1f} s")
    release = wait_until("a served release", lambda: _release(settings), 60, "api")
    say(f"the API serves release {release['id']}")
    return release


def _show_summary(settings: StackSettings, release: dict[str, Any]) -> None:
    key = _key(settings)
    answer = _http().post(f"{_api(settings)}/predict", json=EXAMPLE, headers=key, timeout=10).raise_for_status()
    header = "-H 'X-API-Key: …' " if key else ""
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in release["metrics"]["test"].items())
    password = settings.airflow_password.get_secret_value()
    print(f"""
Page       http://127.0.0.1:{settings.front_port}
API docs   {_api(settings)}/docs
Airflow    http://127.0.0.1:{settings.airflow_port}  (user {settings.airflow_user}, password {password})
Release    {release["id"]}  ({metrics} on {release["model"]}'s test rows)

Try it:
curl -s {_api(settings)}/predict -H 'content-type: application/json' {header}-d '{json.dumps(EXAMPLE)}'
{answer.text}
""")


def _states_of(names: tuple[str, ...]) -> list[dict[str, Any]]:
    states = services.states()
    return [states.get(name, {"statename": "STOPPED"}) for name in names]


def _release(settings: StackSettings) -> dict[str, Any] | None:
    try:
        answer = _http().get(f"{_api(settings)}/release", headers=_key(settings))
    except httpx.HTTPError:
        return None
    return answer.json() if answer.is_success else None


def _find_rejected(settings: StackSettings) -> str | None:
    """Return why the API does not serve the champion that there is, where it does not."""
    try:
        rejected = _http().get(f"{_api(settings)}/healthcheck").json()["rejected"]
    except httpx.HTTPError:
        return None
    return rejected and str(rejected["reason"])


def _answers(url: str) -> bool | None:
    try:
        _http().get(url)
    except httpx.HTTPError:
        return None
    return True


@cache
def _http() -> httpx.Client:
    """Return one client for all: to make one loads all CA certificates, in 50 ms of the processor."""
    return httpx.Client(timeout=5)


def _api(settings: StackSettings) -> str:
    return f"http://127.0.0.1:{settings.api_port}"


def _key(settings: StackSettings) -> dict[str, str]:
    return {"X-API-Key": settings.api_keys[0].get_secret_value()} if settings.api_keys else {}


def _who_has(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        listens = connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
        if listens and connection.pid:
            return f" (taken by {psutil.Process(connection.pid).name()}, pid {connection.pid})"
    return ""


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except (psutil.Error, AttributeError):
        return 0


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.stack")
    commands = parser.add_subparsers(dest="command", required=True)
    for one in (env, up, down, status):
        commands.add_parser(one.__name__).set_defaults(run=one)
    written = commands.add_parser("backup")
    written.add_argument("--with-secrets", action="store_true")
    written.set_defaults(run=backup)
    read = commands.add_parser("restore")
    read.add_argument("file")
    read.set_defaults(run=restore)
    arguments = vars(parser.parse_args())
    name, run = arguments.pop("command"), arguments.pop("run")
    try:
        run(**arguments)
    except (StackError, OSError, sqlite3.Error) as error:
        full = _tell_full_disk()
        if not full and not isinstance(error, StackError):
            raise
        print(f"make {name}: {full or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Go on with: make up. Stop what runs with: make down", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
