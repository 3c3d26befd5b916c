"""Servers pinned to one core, ``wrk`` pinned to another, and the release that is served."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import psutil

from src.config import MODEL, PARAMETERS, PROJECT
from src.core import dataset, models, release
from src.core.pointer import Pointer
from src.core.signature import public_half
from src.core.wine import EXAMPLE
from src.pipeline.steps import feature_ranges
from src.registry import CURRENT
from src.registry.signed import sign_release
from src.settings import make_signing_key
from src.storage.bucket import content_key
from tests.support.services import Service, free_port

SERVER_CORE, CLIENT_CORE = "0", "1"
API_PACKAGES = ("--no-build", "-r", "requirements/api.in", "-c", "requirements.txt")
SCRIPT = """wrk.method, wrk.body = "POST", [=[{body}]=]
wrk.headers["content-type"] = "application/json"
done = function(summary, latency)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  print(string.format('{{"requests": %d, "microseconds": %d, "failed": %d, "p50": %f, "p99": %f}}', summary.requests,
    summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What ``wrk`` found: requests in a second, and latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


def missing() -> str:
    """Say what is to be installed; nothing where all is there."""
    tools = {"wrk": "apt-get install wrk", "taskset": "apt-get install util-linux"}
    lacking = [f"{tool} (on Debian: {command})" for tool, command in tools.items() if not shutil.which(tool)]
    if len(os.sched_getaffinity(0)) < 2:
        lacking.append("a second core")
    return ", ".join(lacking)


def measure(url: str, seconds: int, body: str = json.dumps(EXAMPLE), connections: int = 32) -> Load:
    """Ask as fast as the server answers, over so many connections."""
    with TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(SCRIPT.format(body=body))
        command = [
            "taskset",
            "-c",
            CLIENT_CORE,
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}",
            "-s",
            str(script),
            url,
        ]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    found = json.loads(told)
    if found["failed"]:
        raise SystemExit(f"bench: {found['failed']} of {found['requests']} requests to {url} failed")
    return Load(found["requests"] / found["microseconds"] * 1e6, found["p50"] / 1000, found["p99"] / 1000)


def server(
    python: Path,
    arguments: list[str],
    folder: Path,
    path: str = "/predict",
    cwd: Path = PROJECT,
    settings: Mapping[str, str] = MappingProxyType({}),
    cores: str = SERVER_CORE,
) -> Service:
    """Return a server on these cores; it starts from the release in ``folder``, and needs no store."""
    port = str(free_port())
    command = ["taskset", "-c", cores, str(python), *(one.replace("PORT", port) for one in arguments)]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{PROJECT}:{cwd}",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "STACK_HOME": str(folder),  # so that no .env is read
        "API_CACHE": str(folder / "cache"),
        "BUCKET": "none",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "NO_PROXY": "127.0.0.1",
        "TRUSTED_KEYS": os.environ.get("TRUSTED_KEYS", ""),
        **settings,
    }
    return Service(command, f"http://127.0.0.1:{port}{path}", folder / f"{port}.log", environment, cwd)


@contextmanager
def running(*services: Service) -> Iterator[None]:
    """Run all of them until the block ends."""
    try:
        for service in services:
            service.start()
        yield
    finally:
        for service in services:
            service.stop()


def memory(service: Service) -> float:
    """Return the megabytes that its largest process holds."""
    return max(one.memory_info().rss for one in service.processes() if one.status() != psutil.STATUS_ZOMBIE) / 1e6


def keep_release(cache: Path) -> bytes:
    """Train a release and keep it as the service does, for a start without a store; returns its model.

    Its key is put into the environment, and trusted by every server that is started after it.
    """
    (csv,) = (path for path in (PROJECT / "assets/bootstrap").glob("files/md5/*/*") if path.suffix != ".dir")
    table = dataset.read(csv)
    fitted = models.fit(MODEL, PARAMETERS, table)
    nothing: Mapping[str, str] = {}
    provenance = release.Provenance(
        model=MODEL,
        parameters=PARAMETERS,
        split=nothing,
        data=nothing,
        train=nothing,
        test=nothing,
        features=feature_ranges(table),
        classes=tuple(int(label) for label in fitted.classes_),
        libraries=release.library_versions(),
    )
    scores = release.Scores(train={}, test={})
    model = models.export(fitted)
    files = {
        release.MODEL_FILE: model,
        release.PROVENANCE_FILE: provenance.to_json(),
        release.METRICS_FILE: scores.to_json(),
    }
    entries = [{"md5": _keep(cache, content), "relpath": name} for name, content in sorted(files.items())]
    pointer = Pointer(_keep(cache, json.dumps(entries).encode(), ".dir"), release.FOLDER)
    (cache / CURRENT).parent.mkdir()
    key = make_signing_key()
    os.environ.update(SIGNING_KEY=key, TRUSTED_KEYS=public_half(key))
    (cache / CURRENT).write_text(sign_release(pointer, files).to_yaml())
    return model


def new_environment(folder: Path, *arguments: str) -> Path:
    """Install packages in an environment of their own, and return its Python."""
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *arguments], check=True)
    return python


def measure_packages(python: Path) -> tuple[int, float]:
    """Return how many packages the environment of this Python has, and their megabytes without byte code."""
    files = [path for path in python.parent.parent.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    packages = sum(path.parent.suffix == ".dist-info" and path.name == "METADATA" for path in files)
    return packages, sum(path.stat().st_size for path in files) / 1e6


def _keep(cache: Path, content: bytes, suffix: str = "") -> str:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    path = cache / content_key(md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5
