"""The core touches no environment, clock, network or file but what it is handed."""

import ast
from collections.abc import Iterator

import pytest

from src.config import PROJECT

IMPURE = (
    "open",
    "os.environ",
    "os.getenv",
    "socket",
    "time",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
)


def list_names(source: str) -> Iterator[str]:
    """Yield every dotted name that a module uses or imports, as the module that it comes from spells it."""
    origins: dict[str, str] = {}
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            origins |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            first, dot, rest = ast.unparse(node).partition(".")
            yield f"{origins.get(first, first)}{dot}{rest}"


def find_impure(source: str) -> set[str]:
    return {name for name in list_names(source) if any(f"{name}.".startswith(f"{impure}.") for impure in IMPURE)}


def test_no_module_of_the_core_reaches_for_the_world() -> None:
    modules = sorted((PROJECT / "src" / "core").rglob("*.py"))
    assert {module.name: found for module in modules if (found := find_impure(module.read_text()))} == {}
    assert len(modules) > 5


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A']",
        "from os import environ",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "import datetime as clock\nclock.datetime.now()",
        "import time\ntime.time()",
        "from time import perf_counter as now",
        "def connect():\n    import socket",
        "with open('a') as file:\n    pass",
    ],
)
def test_however_it_is_spelt_it_is_found(source: str) -> None:
    assert find_impure(source)
