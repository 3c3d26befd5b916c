"""The OpenAPI document is kept: whatever it allows is answered as it says, and whatever it forbids is rejected."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.integration.test_api_limits import running
from tests.support.services import eventually


@pytest.fixture
def url(bucket: Bucket, trained: list[Pointer], tmp_path: Path) -> Iterator[str]:
    """Run the API on a release; returns its address."""
    Registry(bucket).promote(trained[0], "first", "test", {})
    with running(tmp_path) as api:
        url = api.url.removesuffix("/liveness")
        eventually(lambda: httpx.get(f"{url}/readiness").is_success)
        yield url


# No schema can say how many numbers a tensor of this shape has, or what a line of CSV holds.
EXCEPTIONS = """
[[operations]]
include-path-regex = "(infer|batch)$"
checks.positive_data_acceptance.enabled = false
"""


def test_schemathesis_finds_no_answer_that_the_document_does_not_allow(url: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(EXCEPTIONS)
    schemathesis = Path(sys.executable).parent / "schemathesis"
    command = [str(schemathesis), "run", f"{url}/openapi.json", "--max-examples=30", "--seed=1", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    ((tested, of),) = re.findall(r"Operations: +(\d+) selected / (\d+) total", done.stdout)
    document = httpx.get(f"{url}/openapi.json").json()
    assert int(tested) == int(of) == sum(map(len, document["paths"].values())), done.stdout


def test_each_route_shows_an_example_of_what_it_takes_and_answers(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for part in (operation.get("requestBody", {}), operation["responses"]["200"]):
                for form, shown in part.get("content", {}).items():
                    is_read_by_people = "arrow" not in form
                    is_shown = "example" in shown or has_example(shown["schema"], document)
                    assert is_shown or not is_read_by_people, f"{method} {path}: {form}"


def has_example(schema: dict[str, Any], document: dict[str, Any]) -> bool:
    """Say whether documentation can show a value of this schema, or of each of its parts."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if schema.keys() & {"example", "examples", "default", "const", "enum"}:
        return True
    parts = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return bool(parts) and all(has_example(part, document) for part in parts)


def test_each_route_has_a_tag_and_its_problems_have_the_type_that_is_sent(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["tags"] for operation in operations)
    declared = document["paths"]["/predict"]["post"]["responses"]["422"]["content"]
    assert list(declared) == ["application/problem+json"]
    assert httpx.post(f"{url}/predict", json={}).headers["content-type"] == "application/problem+json"
    assert document["components"]["schemas"]["Wine"]["example"] == EXAMPLE
