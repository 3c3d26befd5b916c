"""The API in the tests' own process, on a release in a real bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fastapi.testclient import TestClient

from src.api.app import app
from src.core.pointer import Pointer
from tests.support.services import eventually


@contextmanager
def api(cache: Path) -> Iterator[TestClient]:
    """Run the API on the bucket that the environment names, polling often."""
    settings = {"API_CACHE": str(cache), "API_POLL_SECONDS": "0.05"}
    # The API adds a developer's .env to the environment; it must not outlive the test.
    with patch.dict(os.environ, settings), TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def ready(shared_release: Pointer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a client whose API serves the release."""
    with api(tmp_path_factory.mktemp("cache")) as client:
        eventually(lambda: client.get("/readiness").is_success)
        yield client


@contextmanager
def limits(**changed: Any) -> Iterator[None]:
    """Let other limits hold until the block ends."""
    before = app.state.limits
    app.state.limits = replace(before, **changed)
    yield
    app.state.limits = before
