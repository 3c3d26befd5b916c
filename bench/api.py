"""``make bench-api``: the prediction service beside its limits, all measured in one run.

Every server has the first core to itself while ``wrk`` asks it from the second, in turns, so that a slow moment of the
machine meets all of them. Each runs in the environment of the API's image. ``docs/serving.md`` says where time goes.
"""

import http.client
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx

from bench.load import (
    API_PACKAGES,
    CLIENT_CORE,
    Load,
    keep_release,
    measure,
    measure_packages,
    memory,
    missing,
    new_environment,
    running,
    server,
)
from src.core.wine import EXAMPLE
from src.storage.bucket import Bucket
from tests.support.services import Service, gateway

ROUNDS, SECONDS, STARTS = 7, 3, 7
OURS = ["-m", "src.api", "--port", "PORT"]
UVICORN = ["-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--port", "PORT"]
LOGGING = {"AWS_ACCESS_KEY_ID": "bench-access", "AWS_SECRET_ACCESS_KEY": "bench-secret", "BUCKET": "bench"}
LOGGING["PREDICTION_LOG_MAX_MB"] = "8192"  # nothing is dropped, which would cost less
RIVALS = {"bare uvicorn": "bench.rivals:bare", "FastAPI without a model": "bench.rivals:fastapi"}


def main() -> int:
    """Measure and print; returns 1 where a target is missed."""
    if lacking := missing():
        print(f"make bench-api: install {lacking}", file=sys.stderr)
        return 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        keep_release(folder / "cache")
        python = new_environment(folder / "api", *API_PACKAGES)
        _, size = measure_packages(python)
        ours = server(python, OURS, folder)
        store = _store(folder)
        logging = server(python, OURS, folder, settings={"AWS_ENDPOINT_URL_S3": store.url, **LOGGING})
        silent = server(python, OURS, folder, settings={"PREDICTION_LOG_SHARE": "0"})
        rivals = {name: server(python, [*UVICORN, app], folder) for name, app in RIVALS.items()}
        time_start(ours)  # compiles its modules, which takes 5 MB that a later start does not
        with running(store, logging, silent, *rivals.values()):
            for process in store.processes():
                process.cpu_affinity([int(CLIENT_CORE)])
            os.environ.update(LOGGING, AWS_ENDPOINT_URL_S3=store.url, AWS_REGION="us-east-1")
            Bucket.from_environment().create()
            urls = {"ours": logging.url, "ours without its log": silent.url}
            loads = measure_in_turns(urls | {name: one.url for name, one in rivals.items()})
            megabytes = memory(logging)
            told = httpx.get(logging.url.replace("/predict", "/healthcheck")).json()["predictions"]
            print(f"log: waiting: {told['pending_bytes'] / 1e6:,.0f} MB; {told['error']}")
        shutil.rmtree(folder / "cache" / "predictions")
        start = statistics.median(time_start(ours) for _ in range(STARTS))
    mine, silence = loads["ours"], loads["ours without its log"]
    for server_name, load in loads.items():
        print(f"{server_name:26}{load.rate:9,.0f} requests/s, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms")
    print(f"\n{'':26}{'ours':>10}{'limit':>10}{'ratio':>8}  target")
    return report(
        [
            ("beside bare uvicorn", mine.rate, loads["bare uvicorn"].rate, 0.5, float.__ge__),
            ("beside FastAPI, no model", mine.rate, loads["FastAPI without a model"].rate, 2.0, float.__ge__),
            ("beside it without its log", mine.rate, silence.rate, 0.92, float.__ge__),
            ("p99 beside that, ms", mine.p99, silence.p99, 1.15, float.__le__),
            ("predictions not logged", float(told["dropped"]), 1.0, 0.0, float.__le__),
            ("p99 and p50, ms", mine.p99, mine.p50, 2.5, float.__le__),
            ("memory of a worker, MB", megabytes, 100.0, 1.0, float.__le__),
            ("start to prediction, s", start, 0.7, 1.0, float.__le__),
            ("installed packages, MB", size, 240.0, 1.0, float.__le__),
        ]
    )


def _store(folder: Path) -> Service:
    (folder / "store").mkdir()
    return gateway(folder / "store", LOGGING["AWS_ACCESS_KEY_ID"], LOGGING["AWS_SECRET_ACCESS_KEY"])


def report(rows: list[tuple[str, float, float, float, Callable[[float, float], bool]]]) -> int:
    """Print ours, the limit, their ratio and what it is to be; returns 1 where one is not."""
    missed = 0
    for what, ours, limit, target, holds in rows:
        ratio, most = ours / limit, "at least" if holds is float.__ge__ else "at most"
        mark = "" if holds(ratio, target) else "  MISSED"
        missed += bool(mark)
        print(f"{what:26}{ours:10,.2f}{limit:10,.2f}{ratio:8.2f}  {most} {target}{mark}")
    return int(missed > 0)


def measure_in_turns(
    urls: dict[str, str], body: Callable[[str], str] = lambda _: json.dumps(EXAMPLE)
) -> dict[str, Load]:
    """Return the medians of several rounds, in each of which every server has its turn; the first only warms up."""
    rounds: dict[str, list[Load]] = {name: [] for name in urls}
    for _ in range(ROUNDS + 1):
        for name, url in urls.items():
            rounds[name].append(measure(url, SECONDS, body(name)))
    return {name: _median(loads[1:]) for name, loads in rounds.items()}


def _median(loads: list[Load]) -> Load:
    return Load(*(statistics.median(getattr(load, name) for load in loads) for name in ("rate", "p50", "p99")))


def time_start(ours: Service) -> float:
    """Return the seconds from the command to the first prediction, from the release on disk."""
    host = urlsplit(ours.url)
    begun = time.perf_counter()
    ours.begin()
    try:
        while True:
            connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=5)
            try:
                connection.request("POST", "/predict", json.dumps(EXAMPLE), {"content-type": "application/json"})
                if connection.getresponse().status == 200:
                    return time.perf_counter() - begun
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
            ours.check()
    finally:
        ours.stop()


if __name__ == "__main__":
    sys.exit(main())
