"""Experiment tracking: ClearML behind a small interface; offline without an account or a server.

``python -m src.tracking upload`` sends the sessions that were recorded offline.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from src import cli
from src.config import PROJECT
from src.errors import ConfigError, TrackingError
from src.settings import TrackingSettings, read_settings
from src.tracking.recorder import Recorder, make_environment, ping

SESSIONS = Path("logs") / "clearml"
UPLOAD_COMMAND = "python -m src.tracking upload"
PATIENCE = 30.0  # seconds: many times what the slowest step (ClearML's import) takes


@dataclass(frozen=True)
class Run:
    """One experiment: ``scores`` maps a part ("train", "test") to its metrics, ``confusion`` is (truth, label)."""

    name: str
    parameters: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]
    confusion: Sequence[Sequence[int]]
    classes: Sequence[int]
    tags: Sequence[str]
    error: str | None = None


def read_tracking_settings() -> TrackingSettings:
    """Return the settings of ClearML.

    Raises:
        ConfigError: one is wrong, or one of the two keys is set without the other.

    """
    settings = read_settings(TrackingSettings)
    if (settings.clearml_api_access_key is None) != (settings.clearml_api_secret_key is None):
        missing = "SECRET" if settings.clearml_api_access_key else "ACCESS"
        raise ConfigError(f"CLEARML_API_{missing}_KEY is missing: set both of ClearML's keys in .env, or neither")
    return settings


class Tracker:
    """Reports runs from a thread, so that no experiment waits for its reporting."""

    def __init__(
        self, settings: TrackingSettings, folder: Path, warn: Callable[[str], None], patience: float = PATIENCE
    ) -> None:
        """Start; offline sessions go to ``folder``, ``warn`` is told once if the server becomes unreachable."""
        self._settings, self._folder, self._warn, self._patience = settings, folder, warn, patience
        self._online = settings.clearml_api_access_key is not None
        self._runs: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self.links: dict[str, str] = {}  # the pages of runs that a server has, by their names
        self._thread = threading.Thread(target=self._report, daemon=True)
        self._thread.start()

    def record(self, run: Run) -> None:
        """Have ``run`` reported; returns at once."""
        self._runs.put(run)

    def close(self) -> str:
        """Wait until everything is reported, and return where it lies, in words for a person.

        Raises:
            TrackingError: not even an offline session could be written.

        """
        self._runs.put(None)
        self._thread.join()
        if self._failure:
            raise TrackingError(f"ClearML has not got every run: {self._failure}") from self._failure
        waiting = len(list_sessions(self._folder))
        if not waiting and self._online:
            return f"ClearML: project {self._settings.clearml_project} at {self._settings.clearml_web_host}"
        where = self._folder / "offline"
        return f"ClearML: {waiting} offline session(s) in {where}; upload them with: {self._upload_command}"

    @property
    def _upload_command(self) -> str:
        return UPLOAD_COMMAND if self._folder == PROJECT / SESSIONS else f"{UPLOAD_COMMAND} {self._folder}"

    def _report(self) -> None:
        try:
            recorder = self._start()
            while run := self._runs.get():
                recorder = self._deliver(recorder, run)
            recorder.end()
        except (TrackingError, OSError) as error:
            self._failure = error

    def _start(self) -> Recorder:
        host = self._settings.clearml_api_host if self._online else None
        recorder = Recorder(self._settings.clearml_project, self._folder, host, self._patience)
        try:
            recorder.wait()
        except TrackingError as error:
            recorder.end(at_once=True)
            self._go_offline(error)
            return self._start()
        return recorder

    def _deliver(self, recorder: Recorder, run: Run) -> Recorder:
        try:
            recorder.send(asdict(run))
            if link := recorder.wait():
                self.links[run.name] = link
        except TrackingError as error:
            recorder.end(at_once=True)
            self._go_offline(error)
            return self._deliver(self._start(), run)
        return recorder

    def _go_offline(self, error: TrackingError) -> None:
        if not self._online:
            raise error
        self._online = False
        self._warn(f"ClearML is unreachable ({error}): offline from now on. Upload later with: {self._upload_command}")


def list_sessions(folder: Path) -> list[Path]:
    """Return the offline sessions that are yet to be uploaded, oldest first."""
    return sorted((folder / "offline").glob("*.zip"), key=lambda file: file.stat().st_mtime_ns)


def upload(settings: TrackingSettings, folder: Path) -> int:
    """Send the offline sessions in ``folder`` to ClearML's server; returns their number.

    Each one is moved to ``folder/uploaded`` once the server has it, so that a second call goes on from there.

    Raises:
        ConfigError: there is no account to send them to.
        TrackingError: the server is unreachable or rejects.

    """
    if settings.clearml_api_access_key is None:
        raise ConfigError("CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY are missing: set them in .env")
    sessions = list_sessions(folder)
    if not sessions:
        return 0
    ping(settings.clearml_api_host)
    os.environ |= make_environment(folder, online=True)
    from clearml import Task

    (folder / "uploaded").mkdir(exist_ok=True)
    for session in sessions:
        try:
            Task.import_offline_session(str(session))
        except Exception as error:  # ClearML's errors share no base class
            raise TrackingError(f"{session.name} did not go to {settings.clearml_api_host}: {error}") from error
        session.replace(folder / "uploaded" / session.name)
    return len(sessions)


def main(arguments: Sequence[str]) -> int:
    """Upload the offline sessions; returns the exit code."""
    if list(arguments[:1]) != ["upload"] or len(arguments) > 2:
        print(f"usage: {UPLOAD_COMMAND} [FOLDER]", file=sys.stderr)
        return 2
    folder = Path(*arguments[1:]) if arguments[1:] else PROJECT / SESSIONS

    def send() -> None:
        print(f"tracking: {upload(read_tracking_settings(), folder)} session(s) uploaded")

    return cli.run("tracking", send)
