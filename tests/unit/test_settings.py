"""Settings name what is missing or wrong, and keep the environment's own values."""

import pytest

from src.errors import ConfigError
from src.settings import ApiSettings, StoreSettings, read_settings


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BUCKET", raising=False)
    with pytest.raises(ConfigError, match="BUCKET: field required.*Set it in .env"):
        read_settings(StoreSettings)


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "wine")
    monkeypatch.setenv("API_POLL_SECONDS", "soon")
    with pytest.raises(ConfigError, match="API_POLL_SECONDS"):
        read_settings(ApiSettings)


def test_an_empty_setting_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "wine")
    monkeypatch.setenv("API_POLL_SECONDS", "")
    assert read_settings(ApiSettings).api_poll_seconds == 2


def test_settings_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "wine")
    with pytest.raises(ValueError, match="frozen"):
        setattr(read_settings(StoreSettings), "bucket", "other")
