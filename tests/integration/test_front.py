"""The page, run by Streamlit's own test engine against a real API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from src.config import PROJECT
from src.core.pointer import Pointer
from src.registry import Registry
from src.storage.bucket import Bucket
from tests.integration.test_api_follows import serves, uvicorn
from tests.support.services import Service, eventually, free_port


@pytest.fixture
def api(trained: list[Pointer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Run the API on the test's own bucket, and point the page at it."""
    service = uvicorn(tmp_path)
    service.start()
    monkeypatch.setenv("API_URL", service.url.removesuffix("/liveness"))
    yield service
    service.stop()


def page() -> AppTest:
    return AppTest.from_file(str(PROJECT / "front" / "front.py"), default_timeout=120).run()


def test_a_prediction_is_shown_with_its_release(bucket: Bucket, trained: list[Pointer], api: Service) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    eventually(lambda: serves(api, trained[0]))
    app = page()
    assert not app.exception
    assert [field.label for field in app.number_input][:2] == [
        "fixed acidity (g/dm³ tartaric acid)",
        "volatile acidity (g/dm³ acetic acid)",
    ]
    assert len(app.number_input) == 11
    assert app.sidebar.success[0].value == "API: ok"
    app.main.button[0].click().run()
    assert not app.exception
    assert app.main.metric[0].label == "Predicted quality"
    assert app.main.metric[0].value == "5"
    assert any(trained[0].id in caption.value for caption in app.main.caption)
    assert not app.main.warning


def test_unusual_input_is_shown_as_a_warning(bucket: Bucket, trained: list[Pointer], api: Service) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    eventually(lambda: serves(api, trained[0]))
    app = page()
    app.number_input[10].set_value(20.0)
    app.main.button[0].click().run()
    assert "alcohol 20 is outside the range" in app.main.warning[0].value


def test_an_api_that_is_not_ready_is_told(trained: list[Pointer], api: Service) -> None:
    app = page()
    assert not app.exception
    assert "The API is not ready: no release yet" in app.main.error[-1].value
    assert "API: down" in app.sidebar.error[0].value


def test_an_api_that_is_unreachable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("API_URL", address)
    app = page()
    assert not app.exception
    assert f"The API at {address} does not answer" in app.main.error[-1].value
    assert "API: unreachable" in app.sidebar.error[0].value


def test_a_release_that_becomes_unreachable_between_form_and_answer_is_told(
    bucket: Bucket, trained: list[Pointer], api: Service
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    eventually(lambda: serves(api, trained[0]))
    app = page()
    api.stop()
    app.main.button[0].click().run()
    assert not app.exception
    assert "does not answer" in app.main.error[-1].value
