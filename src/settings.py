"""What the environment sets: each setting once, with its type, first value and sentence.

``.env``, its messages, ``.env_example`` and ``docs/settings.md`` are made from these classes; each is a section there.
"""

import base64
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Annotated, Any, Literal, TypeVar

from dotenv import load_dotenv
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from src.config import PROJECT
from src.errors import ConfigError

S = TypeVar("S", bound="Settings")
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, Field(min_length=1)]
Key = Annotated[str, Field(min_length=3)]
Secret = Annotated[SecretStr, Field(min_length=8)]
UrlSafe = Annotated[str, Field(min_length=8, pattern=r"^[A-Za-z0-9._~-]+$", repr=False)]
SPLIT = BeforeValidator(lambda text: tuple(word for one in text.split(",") if (word := one.strip())))
ProjectPath = Annotated[Path, AfterValidator(lambda path: PROJECT / path)]


def setting(sentence: str, first: str | Callable[[], str], **rest: Any) -> Any:
    """Declare a setting; ``first`` is what a new ``.env`` holds, and the default where ``rest`` names no other.

    What ``first`` makes anew for each ``.env`` is no default: such a setting is required where its type has no None.
    """
    extra: dict[str, Any] = {"first": first}
    default = rest.pop("default", None if callable(first) else first)
    return Field(default, description=sentence, json_schema_extra=extra, **rest)


class Settings(BaseModel):
    """What a service reads from the environment."""

    model_config = ConfigDict(frozen=True, validate_default=True)


class StoreSettings(Settings):
    """The bucket: data, releases and the registry."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = setting(
        "Name of the bucket", "wine-quality", default=...
    )


class StoreAccessSettings(Settings):
    """The object store: variables that boto3, DVC and any S3 tool know."""

    s3_port: Port = setting("Port of the object store that `make up` starts on 127.0.0.1", "9000")
    aws_endpoint_url_s3: Text = setting(
        "Address of the object store; for your own S3, its address", "http://127.0.0.1:${S3_PORT}"
    )
    aws_access_key_id: Key = setting(
        "Access key of the pipeline; the local store takes it as its own, in containers `bootstrap` makes this user",
        partial(token_hex, 8),
    )
    aws_secret_access_key: Secret = setting("Secret key, 8 characters or more", partial(token_hex, 20))
    aws_region: Text = setting("Region, as signed into each request", "us-east-1")
    aws_default_region: Text = setting("The same, for the tools that read this name", "${AWS_REGION}")
    aws_request_checksum_calculation: Text = setting(
        "when_required: stores other than AWS reject the newer checksums", "when_required"
    )
    aws_response_checksum_validation: Text = setting("The same, for what the store answers", "when_required")


class SigningSettings(Settings):
    """Signed releases: docs/signing.md."""

    signing_key: Secret | None = setting(
        "Private key that releases are signed with, for the pipeline alone: P-256, in base64 of PKCS #8",
        lambda: make_signing_key(),
    )
    trusted_keys: Annotated[tuple[Text, ...], SPLIT, Field(min_length=1)] | None = setting(
        "Public keys, separated by commas: a release is served where one of them signed it; each in base64 of its "
        "SubjectPublicKeyInfo",
        "the public half of SIGNING_KEY",
        default=None,
    )


class ApiSettings(StoreSettings):
    """The prediction service."""

    api_port: Port = setting("Port on 127.0.0.1", "8000")
    api_workers: int = setting("Processes that serve; each takes a core and 120 MB", "1", ge=1, le=64)
    api_poll_seconds: float = setting("Seconds between two polls of the champion's pointer", "2", gt=0)
    api_cache: ProjectPath = setting(
        "Folder that keeps the last good release, so that the service starts while the store is unreachable",
        ".stack/api",
    )
    api_access_log: float = setting("Share of the requests that the access log shows: 1 for all", "0", ge=0, le=1)
    api_keys: Annotated[tuple[Secret, ...], SPLIT] = setting(
        "Keys of 8 characters or more, separated by commas; a client must send one as X-API-Key. Empty: none is needed",
        "",
    )
    api_cors_origins: Annotated[tuple[str, ...], SPLIT] = setting(
        "Sites whose pages may ask from a browser, as https://example.com, separated by commas; empty: none", ""
    )
    api_max_body_bytes: int = setting("Most bytes of a request's body; one wine has about 300", "65536", ge=1)
    api_max_batch_bytes: int = setting(
        "Most bytes of a batch that is read as a whole: JSON and the Open Inference Protocol; CSV and Arrow are "
        "streamed, and this bounds one record batch",
        "16777216",
        ge=1,
    )
    api_request_seconds: float = setting(
        "Seconds in which the head of a request must have come, and then its body", "10", gt=0
    )
    api_max_connections: int = setting(
        "Most connections of a process at a time; for one more, the one that has owed a request for "
        "the longest time is cut",
        "1000",
        ge=1,
    )
    api_drain_seconds: float = setting(
        "Seconds after SIGTERM in which /readiness answers 503 and all else is answered; then the port is closed",
        "2",
        ge=0,
    )
    api_stop_seconds: int = setting("Seconds after that in which what was begun may end", "5", ge=1)
    prediction_log_share: float = setting(
        "Share of the requests whose predictions are logged to the bucket: 1 for all, 0 for none", "1", ge=0, le=1
    )
    prediction_log_max_mb: int = setting(
        "Most megabytes below API_CACHE that wait until the bucket takes them; newer predictions are then dropped",
        "256",
        ge=1,
    )


class ReaderSettings(Settings):
    """The prediction service's access to the bucket."""

    api_access_key_id: Key | None = setting(
        "Access key of a user who may read, and write predictions and labels alone; `make up` and, in containers, "
        "`bootstrap` make this user. With "
        "`make up` and your own S3 the service has the pipeline's keys instead",
        partial(token_hex, 8),
    )
    api_secret_access_key: Secret | None = setting("Secret key, 8 characters or more", partial(token_hex, 20))


class AccessSettings(ReaderSettings):
    """The keys that the bucket's two users are to have; without the pipeline's, the store's owner makes both."""

    pipeline_access_key_id: Key | None = Field(None, description="In containers, AWS_ACCESS_KEY_ID of .env")
    pipeline_secret_access_key: Secret | None = Field(None, description="In containers, AWS_SECRET_ACCESS_KEY of .env")


class FrontSettings(Settings):
    """The page."""

    front_port: Port = setting("Port on 127.0.0.1", "8501")
    api_url: Text = setting("Address of the prediction service, as the page reaches it", "http://127.0.0.1:${API_PORT}")
    front_api_key: Secret | None = setting(
        "One of API_KEYS, where there are any: the page sends it, and Prometheus", "", default=None
    )


class AirflowSettings(Settings):
    """Airflow."""

    airflow_port: Port = setting("Port on 127.0.0.1", "8080")
    airflow_user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] = setting("Login to Airflow's UI", "admin")
    airflow_password: Secret = setting("Its password, 8 characters or more", partial(token_urlsafe, 12))
    airflow__api_auth__jwt_secret: Secret = setting(
        "Secret that signs the tokens of users and tasks", partial(token_hex, 32)
    )
    airflow__api__secret_key: Secret = setting(
        "Secret that signs what Airflow's parts ask one another for, as a worker's logs", partial(token_hex, 32)
    )
    airflow__core__fernet_key: Annotated[SecretStr, Field(min_length=44, max_length=44)] = setting(
        "Key that encrypts Airflow's connections: openssl rand -base64 32 | tr '+/' '-_'",
        lambda: base64.urlsafe_b64encode(token_bytes(32)).decode(),
    )


class MonitoringSettings(Settings):
    """Monitoring."""

    guard: Literal["tell", "rollback"] = setting(
        "What monitoring does where labels show that the champion is worse than the release it replaced: tell, or "
        "rollback",
        "tell",
    )


class TrackingSettings(Settings):
    """Experiments."""

    clearml_project: Key = setting(
        "Project of all ClearML tasks; empty: red-wine-quality", "", default="red-wine-quality"
    )
    clearml_api_host: Text = setting("ClearML's API; empty: https://api.clear.ml", "", default="https://api.clear.ml")
    clearml_web_host: Text = setting("ClearML's pages; empty: https://app.clear.ml", "", default="https://app.clear.ml")
    clearml_files_host: Text = setting(
        "ClearML's files; empty: https://files.clear.ml", "", default="https://files.clear.ml"
    )
    clearml_api_access_key: SecretStr | None = setting(
        "The first of ClearML's two keys; without both, experiments stay on this machine", "", default=None
    )
    clearml_api_secret_key: SecretStr | None = setting("The second of them", "", default=None)


class AlertSettings(Settings):
    """Alerts."""

    alert_urls: SecretStr | None = setting(
        "Who is told of problems: addresses as apprise spells them (mailto://…, slack://…, tgram://…, jsons://…), "
        "separated by commas, in single quotes where a shell would read more into them; empty: the log alone",
        "",
        default=None,
    )


class CodeSettings(Settings):
    """The code."""

    git_commit: str = setting(
        "Commit that releases are traced to where there is no git, as when an image is built; empty: git is asked", ""
    )


class ContainerSettings(Settings):
    """Containers only."""

    minio_root_user: Key = setting(
        "Root login of the store and its console; only `bootstrap` uses it", partial(token_hex, 8)
    )
    minio_root_password: Secret = setting("Its password, 8 characters or more", partial(token_hex, 20))
    minio_console_port: Port = setting("Port of the console on 127.0.0.1", "9001")
    postgres_password: UrlSafe = setting(
        "Password of Airflow's database: letters, digits and . _ ~ -", partial(token_hex, 20)
    )
    redis_password: UrlSafe = setting(
        "Password of the queue between Airflow and its workers: letters, digits and . _ ~ -", partial(token_hex, 20)
    )
    prometheus_port: Port = setting("Port of Prometheus on 127.0.0.1 (`--profile monitoring`)", "9090")
    alertmanager_port: Port = setting("Port of Alertmanager on 127.0.0.1", "9093")
    alertmanager_webhook: str = setting("Where Alertmanager posts alerts; empty: its page alone shows them", "")
    grafana_port: Port = setting("Port of Grafana on 127.0.0.1", "3000")
    grafana_password: Secret = setting("Password of Grafana's user admin", partial(token_urlsafe, 12))


# pydantic takes the fields of the last base first.
class StackSettings(
    ContainerSettings,
    CodeSettings,
    AlertSettings,
    TrackingSettings,
    MonitoringSettings,
    AirflowSettings,
    FrontSettings,
    ReaderSettings,
    ApiSettings,
    SigningSettings,
    StoreAccessSettings,
    StoreSettings,
):
    """The whole stack: one field for each key of ``.env``."""

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports that the stack listens on, by key."""
        return {key: getattr(self, key.lower()) for key in ("S3_PORT", "API_PORT", "FRONT_PORT", "AIRFLOW_PORT")}

    @property
    def has_own_store(self) -> bool:
        """Say whether the bucket is in the store that ``make up`` starts, or somewhere else."""
        return self.aws_endpoint_url_s3.rstrip("/") == f"http://127.0.0.1:{self.s3_port}"


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
    """Return ``settings`` read from the environment, where an empty variable means its default.

    Raises:
        ConfigError: names every variable that is missing or wrong.

    """
    given = {name: os.environ[name.upper()] for name in settings.model_fields if os.environ.get(name.upper())}
    try:
        return settings.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(name_problems(error).values())
        raise ConfigError(f"{problems}. Set it in .env (each variable is in .env_example)") from error


def read_trusted_keys() -> tuple[str, ...]:
    """Return the public keys of those whose releases this environment trusts.

    Raises:
        ConfigError: it has none.

    """
    keys = read_settings(SigningSettings).trusted_keys
    if keys is None:
        raise ConfigError("there is no TRUSTED_KEYS, so that no release can be trusted; add it to .env with: make env")
    return keys


def make_signing_key() -> str:
    """Return a new private key, as ``SIGNING_KEY`` takes it."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(SECP256R1())
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def name_problems(error: ValidationError) -> dict[str, str]:
    """Return what is wrong with each variable, by its name."""
    problems = {str(problem["loc"][0]).upper(): problem["msg"].lower() for problem in error.errors()}
    return {key: f"{key}: {message}" for key, message in problems.items()}
