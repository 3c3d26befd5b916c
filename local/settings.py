"""The settings of the stack, on one machine or in containers: every key of ``.env``, checked before anything starts."""

import base64
import difflib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from src.config import PROJECT
from src.errors import ConfigError

ENV = PROJECT / ".env"
ENV_EXAMPLE = PROJECT / ".env_example"
STACK_HOME = PROJECT / ".stack"

Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=8)]
UrlSafe = Annotated[str, Field(min_length=8, pattern=r"^[A-Za-z0-9._~-]+$", repr=False)]


class StackSettings(BaseModel):
    """One field for each key of ``.env``; ``.env_example`` says what each means."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=str.upper)

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")]
    s3_port: Port
    aws_endpoint_url_s3: Text
    aws_access_key_id: Annotated[str, Field(min_length=3)]
    aws_secret_access_key: Secret
    aws_region: Text
    aws_default_region: Text
    aws_request_checksum_calculation: Text
    aws_response_checksum_validation: Text
    api_port: Port
    api_poll_seconds: Annotated[float, Field(gt=0)]
    api_cache: Text
    api_max_body_bytes: Annotated[int, Field(ge=1)]
    api_request_seconds: Annotated[float, Field(gt=0)]
    api_max_connections: Annotated[int, Field(ge=1)]
    api_drain_seconds: Annotated[float, Field(ge=0)]
    api_stop_seconds: Annotated[int, Field(ge=1)]
    front_port: Port
    api_url: Text
    airflow_port: Port
    airflow_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    airflow_password: Secret
    airflow__api_auth__jwt_secret: Secret
    airflow__api__secret_key: Secret
    airflow__core__fernet_key: Annotated[SecretStr, Field(min_length=44, max_length=44)]
    clearml_project: str
    clearml_api_host: str
    clearml_web_host: str
    clearml_files_host: str
    clearml_api_access_key: str
    clearml_api_secret_key: SecretStr
    git_commit: str
    minio_root_user: Annotated[str, Field(min_length=3)]
    minio_root_password: Secret
    minio_console_port: Port
    api_access_key_id: Annotated[str, Field(min_length=3)]
    api_secret_access_key: Secret
    postgres_password: UrlSafe
    redis_password: UrlSafe

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports that the stack listens on, by key."""
        return {key: getattr(self, key.lower()) for key in ("S3_PORT", "API_PORT", "FRONT_PORT", "AIRFLOW_PORT")}

    @property
    def has_own_store(self) -> bool:
        """Say whether the bucket is in the store that ``make up`` starts, or somewhere else."""
        return self.aws_endpoint_url_s3.rstrip("/") == f"http://127.0.0.1:{self.s3_port}"


FIRST_VALUES: dict[str, Callable[[], str]] = {
    "BUCKET": lambda: "wine-quality",
    "S3_PORT": lambda: "9000",
    "AWS_ENDPOINT_URL_S3": lambda: "http://127.0.0.1:${S3_PORT}",
    "AWS_ACCESS_KEY_ID": lambda: secrets.token_hex(8),
    "AWS_SECRET_ACCESS_KEY": lambda: secrets.token_hex(20),
    "AWS_REGION": lambda: "us-east-1",
    "AWS_DEFAULT_REGION": lambda: "${AWS_REGION}",
    "AWS_REQUEST_CHECKSUM_CALCULATION": lambda: "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": lambda: "when_required",
    "API_PORT": lambda: "8000",
    "API_POLL_SECONDS": lambda: "2",
    "API_CACHE": lambda: ".stack/api",
    "API_MAX_BODY_BYTES": lambda: "65536",
    "API_REQUEST_SECONDS": lambda: "10",
    "API_MAX_CONNECTIONS": lambda: "1000",
    "API_DRAIN_SECONDS": lambda: "2",
    "API_STOP_SECONDS": lambda: "5",
    "FRONT_PORT": lambda: "8501",
    "API_URL": lambda: "http://127.0.0.1:${API_PORT}",
    "AIRFLOW_PORT": lambda: "8080",
    "AIRFLOW_USER": lambda: "admin",
    "AIRFLOW_PASSWORD": lambda: secrets.token_urlsafe(12),
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_hex(32),
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_hex(32),
    "AIRFLOW__CORE__FERNET_KEY": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "CLEARML_PROJECT": lambda: "",
    "CLEARML_API_HOST": lambda: "",
    "CLEARML_WEB_HOST": lambda: "",
    "CLEARML_FILES_HOST": lambda: "",
    "CLEARML_API_ACCESS_KEY": lambda: "",
    "CLEARML_API_SECRET_KEY": lambda: "",
    "GIT_COMMIT": lambda: "",
    "MINIO_ROOT_USER": lambda: secrets.token_hex(8),
    "MINIO_ROOT_PASSWORD": lambda: secrets.token_hex(20),
    "MINIO_CONSOLE_PORT": lambda: "9001",
    "API_ACCESS_KEY_ID": lambda: secrets.token_hex(8),
    "API_SECRET_ACCESS_KEY": lambda: secrets.token_hex(20),
    "POSTGRES_PASSWORD": lambda: secrets.token_hex(20),
    "REDIS_PASSWORD": lambda: secrets.token_hex(20),
}


def write_env() -> bool:
    """Write ``.env`` (mode 600) with random secrets where there is none; says whether it did."""
    if ENV.exists():
        return False
    lines = [_fill_in(line) for line in ENV_EXAMPLE.read_text().splitlines()]
    temporary = ENV.with_name(".env.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    temporary.rename(ENV)
    return True


def add_missing_keys() -> list[str]:
    """Add to an older ``.env`` the keys that it lacks, with their first values; returns them.

    A key that nobody knows may be one of them misspelt: then nothing is added that would win over its value.
    """
    known = dotenv_values(ENV)
    missing = [] if known.keys() - FIRST_VALUES.keys() else [key for key in FIRST_VALUES if key not in known]
    if missing:
        with ENV.open("a") as file:
            file.writelines(f"\n{key}={FIRST_VALUES[key]()}" for key in missing)
            file.write("\n")
    return missing


def read_env(path: Path = ENV) -> tuple[StackSettings, dict[str, str]]:
    """Return ``.env`` as settings, and as the variables that a process is given.

    Raises:
        ConfigError: names every key that is missing, unknown or wrong, or says that there is no file.

    """
    if not path.exists():
        raise ConfigError(f"there is no {path.name}; write it with: make up")
    values = {key: value or "" for key, value in dotenv_values(path).items()}
    try:
        return StackSettings.model_validate(values), values
    except ValidationError as error:
        problems = "; ".join(_explain(str(fault["loc"][0]), fault["type"], fault["msg"]) for fault in error.errors())
        is_older = "is missing" in problems and "is unknown" not in problems
        hint = "; make env adds missing keys" if is_older else ""
        raise ConfigError(f"{path.name}: {problems}. Each key is described in {ENV_EXAMPLE.name}{hint}") from error


def _fill_in(line: str) -> str:
    key, separator, _ = line.partition("=")
    is_setting = separator and not line.startswith("#")
    return f"{key}={FIRST_VALUES[key]()}" if is_setting else line


def _explain(key: str, kind: str, message: str) -> str:
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(key, FIRST_VALUES, 1)
        return f"{key} is unknown" + (f" (did you mean {near[0]}?)" if near else "")
    return f"{key}: {message.lower()}"
