"""The reference of the API's endpoints, its metrics and make's targets: ``python -m local.reference`` writes it."""

import re
from collections.abc import Iterator
from typing import Any

from src.api.app import app
from src.api.keys import Keys
from src.api.telemetry import METRICS, PREFIX
from src.config import PROJECT

DOCS = PROJECT / "docs" / "reference.md"
TARGET = re.compile(r"^([a-z-]+):.*## (.*)$", re.MULTILINE)
Rows = Iterator[tuple[str, ...]]


def render() -> str:
    """Return the page."""
    return "\n".join(
        [
            "# Reference\n\nMade from the code by `make env-example`; so is [the page of the settings](settings.md).\n",
            _table("Endpoints", ("for", "route", "what it does"), list_endpoints()),
            _table("Metrics", ("name", "kind", "what it is"), list_metrics()),
            _table("Make's targets", ("command", "what it does"), list_targets()),
        ]
    )


def list_endpoints() -> Rows:
    """Return each operation of the OpenAPI document: its group, its route and what it does."""
    app.state.keys = Keys([])  # what a running service reads from its settings
    document, app.openapi_schema = app.openapi(), None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            asked = "&".join(f"{one['name']}=" for one in operation.get("parameters", ()) if one["in"] == "query")
            route = f"`{method.upper()} {path}{'?' if asked else ''}{asked}`"
            yield operation["tags"][0], route, _sentence(operation)


def list_metrics() -> Rows:
    """Return each family of ``/metrics``: its name with its labels, its kind and what it is."""
    for name, (kind, what, labels) in METRICS.items():
        family = kind(f"{PREFIX}_{name}", what, labels=labels)
        spelt = f"{family.name}{'_total' if family.type == 'counter' else ''}"
        yield f"`{spelt}{'{' + ','.join(labels) + '}' if labels else ''}`", family.type, what
    yield "`process_*{worker}`", "gauge", "Memory, processor time and open files of each worker"


def list_targets() -> Rows:
    """Return each target of the Makefile that explains itself."""
    for name, what in TARGET.findall((PROJECT / "Makefile").read_text()):
        yield f"`make {name}`", what


def _sentence(operation: dict[str, Any]) -> str:
    return str(operation["description"]).partition("\n")[0].replace("``", "`")


def _table(title: str, header: tuple[str, ...], rows: Rows) -> str:
    head = f"## {title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows), ""])


if __name__ == "__main__":
    DOCS.write_text(render())
