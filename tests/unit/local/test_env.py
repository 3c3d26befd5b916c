"""``.env``: written once, private, checked key by key, and in step with what describes it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from local import settings
from local.settings import FIRST_VALUES, StackSettings, read_env
from src.errors import ConfigError
from src.settings import ApiSettings, TrackingSettings


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a ``.env`` as the first ``make up`` writes it."""
    monkeypatch.setattr(settings, "ENV", tmp_path / ".env")
    assert settings.write_env()
    return tmp_path / ".env"


def example_keys() -> list[str]:
    return re.findall(r"^([A-Z0-9_]+)=", settings.ENV_EXAMPLE.read_text(), re.MULTILINE)


def test_the_example_the_settings_and_the_first_values_name_the_same_keys() -> None:
    fields = [name.upper() for name in StackSettings.model_fields]
    assert sorted(example_keys()) == sorted(fields) == sorted(FIRST_VALUES)


def test_what_services_read_from_the_environment_is_in_the_example() -> None:
    read = {name.upper() for one in (ApiSettings, TrackingSettings) for name in one.model_fields}
    front = re.findall(r"^    (\w+): .* = Field", Path("front/front.py").read_text(), re.MULTILINE)
    assert front == ["api_url"]
    assert read | {"API_URL"} <= set(example_keys())


def test_every_key_of_the_example_has_a_comment_and_no_value() -> None:
    lines = settings.ENV_EXAMPLE.read_text().splitlines()
    for before, line in zip(lines, lines[1:], strict=False):
        if "=" in line and not line.startswith("#"):
            assert line.endswith("="), line
            assert before, f"{line} has neither a comment nor a neighbour that has one"


def test_the_first_env_is_private_random_and_complete(env: Path, tmp_path: Path) -> None:
    assert env.stat().st_mode & 0o777 == 0o600
    stack, values = read_env(env)
    assert stack.ports == {"S3_PORT": 9000, "API_PORT": 8000, "FRONT_PORT": 8501, "AIRFLOW_PORT": 8080}
    assert values["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9000"
    first = env.read_text()
    assert not settings.write_env()
    assert env.read_text() == first
    env.unlink()
    settings.write_env()
    secrets = ("AWS_SECRET_ACCESS_KEY", "AIRFLOW_PASSWORD", "AIRFLOW__API_AUTH__JWT_SECRET")
    assert all(read_env(env)[1][key] != values[key] for key in secrets)


def test_a_shell_reads_the_same_values(env: Path) -> None:
    _, values = read_env(env)
    command = f'set -a; . "{env}"; env -0'
    output = subprocess.run(["sh", "-c", command], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    shell = dict(line.split("=", 1) for line in output.stdout.decode().split("\0") if line)
    assert {key: shell[key] for key in values} == values


def test_secrets_are_masked_when_printed(env: Path) -> None:
    stack, values = read_env(env)
    for key in ("AWS_SECRET_ACCESS_KEY", "AIRFLOW_PASSWORD", "AIRFLOW__API_AUTH__JWT_SECRET"):
        assert values[key] not in repr(stack)


def test_an_older_env_gets_the_keys_it_lacks_and_keeps_the_rest(env: Path) -> None:
    before = read_env(env)[1]
    lines = [line for line in env.read_text().splitlines() if not line.startswith(("REDIS_", "BUCKET="))]
    env.write_text("\n".join([*lines, "BUCKET=mine"]))
    with pytest.raises(ConfigError, match="REDIS_PASSWORD is missing.*make env adds missing keys"):
        read_env(env)
    assert settings.add_missing_keys() == ["REDIS_PASSWORD"]
    after = read_env(env)[1]
    assert after["REDIS_PASSWORD"] != before["REDIS_PASSWORD"]
    assert after == before | {"BUCKET": "mine", "REDIS_PASSWORD": after["REDIS_PASSWORD"]}
    assert settings.add_missing_keys() == []


def test_no_key_is_added_where_it_may_be_misspelt(env: Path) -> None:
    env.write_text(env.read_text().replace("\nBUCKET=wine-quality", "\nBUKCET=mine"))
    before = env.read_text()
    assert settings.add_missing_keys() == []
    assert env.read_text() == before
    with pytest.raises(ConfigError, match=r"did you mean BUCKET\?\)\. Each key is described in \.env_example$"):
        read_env(env)


def test_a_missing_file_is_told_with_its_repair(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no .env; write it with: make up"):
        read_env(tmp_path / ".env")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("API_PORT=8000\n", ""), "API_PORT is missing"),
        (lambda text: text.replace("\nAPI_PORT", "\nAPI_PROT"), "API_PROT is unknown \\(did you mean API_PORT\\?\\)"),
        (lambda text: text + "COLOUR=red\n", "COLOUR is unknown"),
        (lambda text: text.replace("API_PORT=8000", "API_PORT=http"), "API_PORT: .*integer"),
        (lambda text: text.replace("API_PORT=8000", "API_PORT=99999"), "API_PORT: .*65535"),
        (lambda text: text.replace("BUCKET=wine-quality", "BUCKET="), "BUCKET: .*pattern"),
        (lambda text: text.replace("AIRFLOW_USER=admin", "AIRFLOW_USER=a:b"), "AIRFLOW_USER: .*pattern"),
        (lambda text: text.replace("FERNET_KEY=", "FERNET_KEY=x"), "AIRFLOW__CORE__FERNET_KEY: .*44"),
    ],
)
def test_a_wrong_key_is_named(env: Path, change: "object", message: str) -> None:
    assert callable(change)
    env.write_text(change(env.read_text()))
    with pytest.raises(ConfigError, match=f"^.env: .*{message}.*described in .env_example"):
        read_env(env)
