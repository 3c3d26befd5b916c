"""``.env``: written once, private, checked key by key, and in step with what describes it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from local import env as module
from local.env import DOCS, ENV_EXAMPLE, FIELDS, read_env, render_docs, render_env
from src.config import PROJECT
from src.core.signature import public_half
from src.errors import ConfigError
from src.settings import StackSettings


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a ``.env`` as the first ``make up`` writes it."""
    monkeypatch.setattr(module, "ENV", tmp_path / ".env")
    assert module.write_env()
    return tmp_path / ".env"


def test_what_describes_the_settings_is_made_from_them() -> None:
    assert ENV_EXAMPLE.read_text() == render_env(dict.fromkeys(FIELDS, "")), "run: make env-example"
    assert DOCS.read_text() == render_docs(), "run: make env-example"


def test_each_setting_is_declared_once() -> None:
    declared = [name for one in StackSettings.__mro__ for name in one.__dict__.get("__annotations__", {})]
    assert sorted(name for name in declared if name.upper() in FIELDS) == sorted(StackSettings.model_fields)


def test_the_page_reads_the_address_that_a_new_env_holds(env: Path) -> None:
    front = (PROJECT / "front" / "api.py").read_text()
    assert re.findall(r"environ.*?\"(\w+)\"", front) == ["API_URL", "FRONT_API_KEY"]
    assert re.findall(r'^API = "(.*?)"', front, re.MULTILINE) == [read_env(env)[1]["API_URL"]]


def test_every_key_of_the_example_has_a_comment_and_no_value() -> None:
    lines = ENV_EXAMPLE.read_text().splitlines()
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
    assert not module.write_env()
    assert env.read_text() == first
    env.unlink()
    module.write_env()
    secrets = ("AWS_SECRET_ACCESS_KEY", "AIRFLOW_PASSWORD", "AIRFLOW__API_AUTH__JWT_SECRET", "SIGNING_KEY")
    assert all(read_env(env)[1][key] != values[key] for key in secrets)


def test_a_shell_reads_the_same_values(env: Path) -> None:
    _, values = read_env(env)
    command = f'set -a; . "{env}"; env -0'
    output = subprocess.run(["sh", "-c", command], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    shell = dict(line.split("=", 1) for line in output.stdout.decode().split("\0") if line)
    assert {key: shell[key] for key in values} == values


def test_secrets_are_masked_when_printed(env: Path) -> None:
    stack, values = read_env(env)
    secrets = [key for key in values if values[key] and re.search("PASSWORD|SECRET|FERNET|SIGNING", key)]
    assert len(secrets) == 11
    assert not [key for key in secrets if values[key] in repr(stack)]


def test_an_older_env_gets_the_keys_it_lacks_and_keeps_the_rest(env: Path) -> None:
    before = read_env(env)[1]
    lines = [line for line in env.read_text().splitlines() if not line.startswith(("REDIS_", "BUCKET="))]
    env.write_text("\n".join([*lines, "BUCKET=mine"]))
    with pytest.raises(ConfigError, match="REDIS_PASSWORD is missing.*make env adds missing keys"):
        read_env(env)
    assert module.add_missing_keys() == ["REDIS_PASSWORD"]
    after = read_env(env)[1]
    assert after["REDIS_PASSWORD"] != before["REDIS_PASSWORD"]
    assert after == before | {"BUCKET": "mine", "REDIS_PASSWORD": after["REDIS_PASSWORD"]}
    assert module.add_missing_keys() == []


@pytest.mark.parametrize("lacking", [("SIGNING_KEY", "TRUSTED_KEYS"), ("TRUSTED_KEYS",)])
def test_the_key_that_is_trusted_first_is_that_of_the_one_that_signs(env: Path, lacking: tuple[str, ...]) -> None:
    values = read_env(env)[1]
    assert values["TRUSTED_KEYS"] == public_half(values["SIGNING_KEY"])
    env.write_text("".join(line for line in env.read_text().splitlines(True) if not line.startswith(lacking)))
    assert module.add_missing_keys() == [*lacking]
    after = read_env(env)[1]
    assert after["TRUSTED_KEYS"] == public_half(after["SIGNING_KEY"])
    assert (after["SIGNING_KEY"] == values["SIGNING_KEY"]) == ("SIGNING_KEY" not in lacking)
    assert env.stat().st_mode & 0o777 == 0o600


def test_no_key_is_added_where_it_may_be_misspelt(env: Path) -> None:
    env.write_text(env.read_text().replace("\nBUCKET=wine-quality", "\nBUKCET=mine"))
    before = env.read_text()
    assert module.add_missing_keys() == []
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
        (lambda text: text.replace("CLEARML_PROJECT=", "CLEARML_PROJECT=ab"), "CLEARML_PROJECT: .*3 characters"),
        (lambda text: text.replace("FERNET_KEY=", "FERNET_KEY=x"), "AIRFLOW__CORE__FERNET_KEY: .*44"),
    ],
)
def test_a_wrong_key_is_named(env: Path, change: "object", message: str) -> None:
    assert callable(change)
    env.write_text(change(env.read_text()))
    with pytest.raises(ConfigError, match=f"^.env: .*{message}.*described in .env_example"):
        read_env(env)
