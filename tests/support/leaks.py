"""Where a secret could be read by who should not: files, command lines, pages; and which of them hold one."""

import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

import httpx

from local.airflow_client import DAG, Airflow

SECRET = re.compile("SECRET|PASSWORD|FERNET|_KEYS?$|_KEY_ID$|ROOT_USER$|ALERT_URLS|WEBHOOK")
OWN = ("env", "environments/*", "airflow/passwords.json")  # where the stack keeps its secrets, for its owner alone
USER_OF_THE_STORE = ("API_ACCESS_KEY_ID", "API_SECRET_ACCESS_KEY")  # whom the store itself must know
Texts = Iterator[tuple[str, bytes]]  # each by the name of the place where it was read


def secrets_of(values: Mapping[str, str]) -> dict[str, bytes]:
    """Return the secrets among the values of ``.env``, by key."""
    return {key: value.encode() for key, value in values.items() if value and SECRET.search(key)}


def find_leaks(secrets: Mapping[str, bytes], *texts: Texts) -> list[str]:
    """Return who is told which secret, as ``place: key``."""
    return [
        f"{place}: {key}"
        for place, text in chain(*texts)
        for key, secret in secrets.items()
        if secret in text and not (place.startswith("store/") and key in USER_OF_THE_STORE)
    ]


def files(home: Path) -> Texts:
    """Read whatever a stack wrote, its logs and databases first, but for where it keeps its secrets."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and not any(path.match(f"{home.name}/{own}") for own in OWN):
            yield str(path.relative_to(home)), path.read_bytes()


def layers(image: str) -> Texts:
    """Read every file of every layer of an image, also those that a later layer deleted."""
    with (
        subprocess.Popen(["docker", "image", "save", image], stdout=subprocess.PIPE) as saved,
        tarfile.open(fileobj=saved.stdout, mode="r|") as archive,
    ):
        for blob in (one for one in archive if one.isfile()):
            with suppress(tarfile.ReadError), tarfile.open(fileobj=archive.extractfile(blob), mode="r|*") as layer:
                for member in layer:
                    if member.isfile() and (file := layer.extractfile(member)):
                        yield f"{blob.name}/{member.name}", file.read()


def command_lines() -> Texts:
    """Read what any user of this machine sees of each process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield str(path), path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile


def pages(url: str, *paths: str) -> Texts:
    """Read pages that ask for no login."""
    for path in paths:
        yield path, httpx.get(f"{url}{path}", timeout=30, follow_redirects=True).raise_for_status().content


def airflow_pages(airflow: Airflow, token: str) -> Texts:
    """Read every page of Airflow's REST API, which feeds its UI, with the values of its last run filled in.

    Variables, connections, the configuration, XComs and the logs of tasks are among them.
    """
    run = next(iter(airflow.runs()))
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    filled = {"dag_id": DAG, "dag_run_id": run, "try_number": "1", "map_index": "-1", "xcom_key": "return_value"}
    with httpx.Client(base_url=airflow.url, headers=headers, timeout=60) as client:
        paths = client.get("/openapi.json").raise_for_status().json()["paths"]
        for path in sorted(path for path, methods in paths.items() if "get" in methods):
            for task in airflow.tasks(run) if "{task_id}" in path else [{"task_id": ""}]:
                place = fill(path, {**filled, "task_id": task["task_id"]})
                if place:
                    yield place, client.get(place).content


def fill(path: str, values: Mapping[str, str]) -> str | None:
    """Return a path with its parameters filled in, None where one is unknown."""
    names = re.findall(r"\{(\w+)\}", path)
    return path.format(**values) if set(names) <= values.keys() else None
