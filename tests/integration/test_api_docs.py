"""The API's documentation in Chromium, which reaches nothing but the API."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from src.storage.bucket import Bucket
from tests.integration.test_api_follows import uvicorn
from tests.support.newcomer import open_page
from tests.support.services import Service
from tests.support.tools import needs

HOST = "wine.test"  # a page may behave differently where it is on the reader's own machine


@pytest.fixture
def api(bucket: Bucket, tmp_path: Path) -> Iterator[Service]:
    """Run the API on an empty bucket."""
    service = uvicorn(tmp_path)
    service.start()
    yield service
    service.stop()


@needs("chromium")
def test_the_documentation_asks_no_other_host(api: Service) -> None:
    port = httpx.URL(api.url).port
    rules = f"--host-resolver-rules=MAP {HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    asked: list[str] = []
    with open_page("--no-proxy-server", rules) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://{HOST}:{port}/docs")
        expect(page.get_by_text("/predict", exact=True)).to_be_visible(timeout=60_000)
        page.get_by_text("/liveness", exact=True).click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        expect(page.get_by_text('"status": "alive"').first).to_be_visible(timeout=60_000)
    assert {httpx.URL(url).host for url in asked if not url.startswith(("data:", "blob:"))} == {HOST}


def test_there_is_no_page_that_needs_the_internet(api: Service) -> None:
    assert httpx.get(api.url.replace("liveness", "redoc")).status_code == 404
