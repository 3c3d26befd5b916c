"""Runs reach ClearML's server when there is one, and offline sessions when there is none or it becomes unreachable."""

import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.config import PROJECT
from src.errors import ConfigError, TrackingError
from src.tracking import Run, Tracker, list_sessions, read_tracking_settings
from tests.support.fake_clearml import FakeClearml, serve_clearml

CONFUSION = [[5, 1], [2, 7]]
SCORES = {"train": {"Accuracy": 0.75, "ROC_AUC": 0.875}, "test": {"Accuracy": 0.5, "ROC_AUC": 0.625}}
TAGS = ["gap 0.2500", "test 0.6250"]
PARAMETERS = {"C": 10.0, "solver": "lbfgs", "class_weight": None}

REPORTED = {f"{side} {name}": value for side, scores in SCORES.items() for name, value in scores.items()}
WRITTEN = {"C": "10.0", "solver": "lbfgs", "class_weight": ""}


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty key is no key, and one that ``.env`` may hold does not replace it."""
    for name in [name for name in os.environ if name.startswith("CLEARML_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLEARML_API_ACCESS_KEY", "")
    monkeypatch.setenv("CLEARML_API_SECRET_KEY", "")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClearml]:
    with serve_clearml() as server:
        set_account(monkeypatch, server.url)
        yield server


def set_account(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("API", "WEB", "FILES"):
        monkeypatch.setenv(f"CLEARML_{name}_HOST", url)
    monkeypatch.setenv("CLEARML_API_ACCESS_KEY", "access")
    monkeypatch.setenv("CLEARML_API_SECRET_KEY", "secret")


def make_run(name: str, error: str | None = None) -> Run:
    return Run(name, PARAMETERS, SCORES, CONFUSION, [5, 6], TAGS, error)


def track(folder: Path, *names: str, patience: float = 60.0) -> tuple[str, list[str]]:
    """Report a run for each name; returns what close() says and the warnings."""
    warnings: list[str] = []
    tracker = Tracker(read_tracking_settings(), folder, warnings.append, patience)
    for name in names:
        tracker.record(make_run(name))
    return tracker.close(), warnings


def read_session(file: Path) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        task = json.loads(archive.read("task.json"))
        events = [event for line in archive.read("metrics.jsonl").splitlines() for event in json.loads(line)]
        (artifact,) = [name for name in archive.namelist() if name.endswith("result.json")]
        return {"task": task, "events": events, "artifact": json.loads(archive.read(artifact))}


def read_parameters(task: dict[str, Any]) -> dict[str, str]:
    return {name: one["value"] for name, one in task["hyperparams"]["parameters"].items()}


def read_scalars(events: list[dict[str, Any]]) -> dict[str, float]:
    return {event["variant"]: event["value"] for event in events if event["type"] == "training_stats_scalar"}


def test_offline_sessions_hold_all_that_was_reported_and_cost_no_wait(tmp_path: Path) -> None:
    names = [f"LR_{number}" for number in range(6)]
    started = time.monotonic()
    said, warnings = track(tmp_path, *names)

    assert time.monotonic() - started < len(names) * 11 / 2  # out of the box, each task's close() takes 11 s
    assert warnings == []
    assert str(tmp_path / "offline") in said and f"python -m src.tracking upload {tmp_path}" in said
    sessions = [read_session(file) for file in list_sessions(tmp_path)]
    assert [session["task"]["name"] for session in sessions] == names
    for session in sessions:
        assert session["task"]["project_name"] == "red-wine-quality"
        assert sorted(session["task"]["tags"]) == TAGS
        assert read_parameters(session["task"]) == WRITTEN
        assert read_scalars(session["events"]) == REPORTED
        (plot,) = [json.loads(event["plot_str"]) for event in session["events"] if event["type"] == "plot"]
        assert plot["data"][0]["z"] == CONFUSION
        assert session["artifact"]["scores"] == SCORES


def test_without_keys_no_server_is_asked(tmp_path: Path, server: FakeClearml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_API_ACCESS_KEY", "")
    monkeypatch.setenv("CLEARML_API_SECRET_KEY", "")
    track(tmp_path, "LR_1")
    assert server.calls == [] and len(list_sessions(tmp_path)) == 1


def test_server_gets_all_that_was_reported(tmp_path: Path, server: FakeClearml) -> None:
    tracker = Tracker(read_tracking_settings(), tmp_path, pytest.fail, patience=60)
    tracker.record(make_run("LR_1"))
    tracker.record(make_run("LR_2", error="ValueError: no such solver"))
    said = tracker.close()

    assert said == f"ClearML: project red-wine-quality at {server.url}"
    for key, task in server.tasks.items():
        assert tracker.links[task["name"]].startswith(server.url) and key in tracker.links[task["name"]]
    assert {task["name"]: task["status"] for task in server.tasks.values()} == {"LR_1": "completed", "LR_2": "failed"}
    for key, task in server.tasks.items():
        assert sorted(task["tags"]) == TAGS
        assert read_parameters(task) == WRITTEN
        assert read_scalars(server.find_events(key, "training_stats_scalar")) == REPORTED
        (plot,) = server.find_events(key, "plot")
        assert json.loads(plot["plot_str"])["data"][0]["z"] == CONFUSION
        assert [artifact["key"] for artifact in task["artifacts"]] == ["result"]
    assert len(server.files) == 2 and list_sessions(tmp_path) == []


def test_server_that_is_unreachable_costs_one_warning_and_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound and not listening: rejects whoever calls
        closed.bind(("127.0.0.1", 0))
        set_account(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        started = time.monotonic()
        said, warnings = track(tmp_path, "LR_1", "LR_2")
        seconds = time.monotonic() - started
        done = upload(tmp_path)

    assert seconds < 30
    assert len(warnings) == 1 and "refused" in warnings[0] and "offline from now on" in warnings[0]
    assert "2 offline session(s)" in said
    assert done.returncode == 1 and "refused" in done.stderr and "Traceback" not in done.stderr
    assert len(list_sessions(tmp_path)) == 2


def test_server_that_falls_silent_loses_no_run(tmp_path: Path, server: FakeClearml) -> None:
    warnings: list[str] = []
    tracker = Tracker(read_tracking_settings(), tmp_path, warnings.append, patience=12)
    tracker.record(make_run("LR_1"))
    wait_for(lambda: "completed" in [task["status"] for task in server.tasks.values()])
    server.is_silent = True
    tracker.record(make_run("LR_2"))
    tracker.record(make_run("LR_3"))
    tracker.close()

    assert tracker.links.keys() == {"LR_1"}
    assert len(warnings) == 1 and "no answer in 12 s" in warnings[0]
    assert [read_session(file)["task"]["name"] for file in list_sessions(tmp_path)] == ["LR_2", "LR_3"]


def test_rejected_keys_cost_one_warning(tmp_path: Path, server: FakeClearml) -> None:
    server.refuses_keys = True
    _, warnings = track(tmp_path, "LR_1", "LR_2")
    assert len(warnings) == 1 and "invalid credentials" in warnings[0]
    assert len(list_sessions(tmp_path)) == 2


def test_uploaded_sessions_are_complete_and_sent_once(
    tmp_path: Path, server: FakeClearml, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_account:
        without_account.setenv("CLEARML_API_ACCESS_KEY", "")
        without_account.setenv("CLEARML_API_SECRET_KEY", "")
        track(tmp_path, "LR_1")
    assert not server.calls

    assert "1 session(s) uploaded" in upload(tmp_path).stdout
    assert "0 session(s) uploaded" in upload(tmp_path).stdout
    ((key, task),) = server.tasks.items()
    assert (task["name"], task["status"], sorted(task["tags"])) == ("LR_1", "completed", TAGS)
    assert read_parameters(task) == WRITTEN
    assert read_scalars(server.find_events(key, "training_stats_scalar")) == REPORTED


def test_upload_without_an_account_says_what_is_missing(tmp_path: Path) -> None:
    done = upload(tmp_path)
    assert done.returncode == 1 and "CLEARML_API_ACCESS_KEY" in done.stderr


def test_one_key_without_the_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARML_API_ACCESS_KEY", "access")
    with pytest.raises(ConfigError, match="CLEARML_API_SECRET_KEY is missing"):
        read_tracking_settings()


def test_keys_are_masked_when_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_account(monkeypatch, "http://clearml")
    assert "secret" not in repr(read_tracking_settings()).replace("clearml_api_secret_key", "")


def test_folder_that_cannot_be_written_is_an_error_and_not_silence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="file"):
        track(tmp_path / "file" / "sessions", "LR_1")


def upload(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "src.tracking", "upload", str(folder)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
