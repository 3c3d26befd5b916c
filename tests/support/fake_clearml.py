"""A ClearML server at the transport seam: it takes what the SDK sends over HTTP, and remembers it."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt

_STATUSES = {"started": "in_progress", "stopped": "stopped", "completed": "completed", "failed": "failed"}


class FakeClearml(ThreadingHTTPServer):
    """Tasks, events and files as they were sent; ``is_silent`` has it take requests and never answer."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port of loopback."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tasks: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.files: list[str] = []
        self.calls: list[str] = []
        self.is_silent = False
        self.refuses_keys = False
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """Return the address of its API, and of its files."""
        return f"http://127.0.0.1:{self.server_port}"

    def find_events(self, task: str, kind: str) -> list[dict[str, Any]]:
        """Return the events of a task by their type."""
        return [event for event in self.events if event["task"] == task and event["type"] == kind]

    def answer(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the data of the reply to one call."""
        if action == "auth.login":
            return {"token": jwt.encode({"env": "", "api_version": "2.23"}, "key " * 16)}
        if action in ("tasks.create", "tasks.import"):
            task = uuid.uuid4().hex
            empty: dict[str, Any] = {"output": {}, "execution": {}, "script": {}, "hyperparams": {}}
            self.tasks[task] = {**empty, "status": "created", **body, "id": task}
            return {"id": task}
        if action.startswith("projects."):
            return {"id": "project", "projects": [{"id": "project", "name": body.get("name", "")}], "project": {}}
        if action.startswith("events."):
            self.events += body.get("requests", [body])
            return {"added": 1, "errors": 0}
        if action.startswith("tasks."):
            return self._answer_about_task(action.removeprefix("tasks."), body)
        return {}

    def _answer_about_task(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        if verb.startswith("get_all"):
            return {"tasks": [self.tasks[task] for task in body.get("id", []) if task in self.tasks]}
        task = self.tasks[body["task"]]
        fields = {key: value for key, value in body.items() if key not in ("task", "force")}
        if verb in ("edit", "update"):
            task.update(fields)
        elif verb == "add_or_update_artifacts":
            task.setdefault("artifacts", []).extend(fields["artifacts"])
        elif verb in _STATUSES:
            task["status"] = _STATUSES[verb]
        return {"task": task, "updated": 1}


@contextmanager
def serve_clearml() -> Iterator[FakeClearml]:
    """Run a server until the block ends."""
    with FakeClearml() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeClearml
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for the far end's delayed acknowledgement

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        action = self.path.partition("?")[0].rpartition("/")[2]
        self.server.calls.append(action)
        if self.server.is_silent:
            self.server.ended.wait()
            return
        if self.headers.get_content_type() == "multipart/form-data":
            self.server.files.append(self.path)
            self._reply(200, {})
        elif action == "auth.login" and self.server.refuses_keys:
            self._reply(401, {"meta": {"result_code": 401, "result_msg": "Unauthorized (invalid credentials)"}})
        else:
            self._reply(200, {"meta": {"result_code": 200, "result_subcode": 0}, "data": self._answer(action, content)})

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the calls are in ``calls``."""

    def _answer(self, action: str, content: bytes) -> dict[str, Any]:
        bodies = [json.loads(line) for line in content.splitlines() if line.strip()]
        if action == "events.add_batch":
            return self.server.answer(action, {"requests": bodies})
        return self.server.answer(action, bodies[0] if bodies else {})

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
