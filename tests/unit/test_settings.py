"""Settings name what is missing or wrong, and keep the environment's own values."""

import pytest

from src.errors import ConfigError
from src.settings import ApiSettings, StoreSettings, read_settings, read_trusted_keys


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


@pytest.mark.parametrize("value", ["", " , "])
def test_without_trusted_keys_nothing_is_trusted_and_the_message_says_what_mends_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TRUSTED_KEYS", value)
    with pytest.raises(ConfigError, match="TRUSTED_KEYS.*make env|TRUSTED_KEYS: .*at least 1 item"):
        read_trusted_keys()
    monkeypatch.delenv("TRUSTED_KEYS")
    with pytest.raises(ConfigError, match="^there is no TRUSTED_KEYS, .*; add it to .env with: make env$"):
        read_trusted_keys()


def test_settings_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "wine")
    with pytest.raises(ValueError, match="frozen"):
        setattr(read_settings(StoreSettings), "bucket", "other")
