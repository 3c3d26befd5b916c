"""What the environment sets: every setting of a service, with its type, first value and sentence."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from dotenv import load_dotenv
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from src.config import PROJECT
from src.errors import ConfigError

S = TypeVar("S", bound=BaseSettings)


class StoreSettings(BaseSettings):
    """Where the bytes are; the endpoint, keys and region are the standard ``AWS_*`` variables."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    bucket: str = Field(min_length=3, description="The bucket's name")


class ApiSettings(StoreSettings):
    """The API's own settings."""

    api_cache: Path = Field(PROJECT / ".stack" / "api", description="Folder that keeps the last good release")
    api_poll_seconds: float = Field(2.0, gt=0, description="Seconds between two polls of the champion's pointer")
    api_max_body_bytes: int = Field(65_536, ge=1, description="Most bytes of a request's body; a wine has about 300")
    api_port: int = Field(8000, ge=1, le=65535, description="The port that `python -m src.api` listens on")
    api_max_connections: int = Field(1000, ge=1, description="Most connections at a time; each takes some 15 KiB")
    api_drain_seconds: float = Field(2.0, ge=0, description="Seconds between SIGTERM and the closing of the port")
    api_stop_seconds: int = Field(5, ge=1, description="Seconds after that for what was begun")
    api_request_seconds: float = Field(10.0, gt=0, description="Seconds for a request's head, and for its body")


class TrackingSettings(BaseSettings):
    """Where experiments are reported; without both keys they stay on this machine."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    clearml_project: str = Field("red-wine-quality", min_length=3, description="The project of all ClearML tasks")
    clearml_api_host: str = Field("https://api.clear.ml", description="ClearML's API")
    clearml_web_host: str = Field("https://app.clear.ml", description="ClearML's pages")
    clearml_files_host: str = Field("https://files.clear.ml", description="ClearML's files")
    clearml_api_access_key: SecretStr | None = Field(None, description="The first of ClearML's two keys")
    clearml_api_secret_key: SecretStr | None = Field(None, description="The second of ClearML's two keys")


def load_environment() -> None:
    """Add the variables of the project's ``.env`` to the environment, where those already set win.

    A service of ``make up`` was told its own, and reads no other's secrets.
    """
    if "STACK_HOME" not in os.environ:
        load_dotenv(PROJECT / ".env", override=False)
    os.environ.update(direct_loopback(os.environ))


def direct_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep what talks to this machine off the shell's HTTP proxy."""
    hosts = [environment.get("NO_PROXY") or environment.get("no_proxy") or "", "127.0.0.1", "localhost"]
    return dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, hosts)))


def read_settings(settings: type[S]) -> S:
    """Return ``settings`` read from the environment.

    Raises:
        ConfigError: names every variable that is missing or wrong.

    """
    try:
        return settings()
    except ValidationError as error:
        problems = [f"{str(problem['loc'][0]).upper()}: {problem['msg'].lower()}" for problem in error.errors()]
        raise ConfigError(f"{'; '.join(problems)}. Set it in .env (each variable is in .env_example)") from error
