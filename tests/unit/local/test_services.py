"""What each service is told of ``.env``: its own settings, and no secret of another."""

import subprocess
from pathlib import Path

import pytest

from local import env, services
from local.env import read_env
from local.services import PROGRAMS, own_variables, write_environments
from src.settings import StackSettings

TOLD_TO_NONE = {
    *("S3_PORT", "FRONT_PORT"),  # supervisor puts them on command lines
    "AIRFLOW_PASSWORD",  # `make up` writes it where Airflow reads logins
    *("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_CONSOLE_PORT", "POSTGRES_PASSWORD", "REDIS_PASSWORD"),
    *("PROMETHEUS_PORT", "ALERTMANAGER_PORT", "ALERTMANAGER_WEBHOOK", "GRAFANA_PORT", "GRAFANA_PASSWORD"),
}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[StackSettings, dict[str, str]]:
    """Return what the first ``make up`` writes."""
    monkeypatch.setattr(env, "ENV", tmp_path / ".env")
    env.write_env()
    return read_env(tmp_path / ".env")


def test_every_key_is_told_to_a_service_or_serves_containers_alone(stack: tuple[StackSettings, dict[str, str]]) -> None:
    told = own_variables(*stack)
    assert tuple(told) == PROGRAMS
    assert {key for own in told.values() for key in own} - {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"} == (
        stack[1].keys() - TOLD_TO_NONE
    )


def test_a_secret_is_told_to_none_who_need_it_not(stack: tuple[StackSettings, dict[str, str]]) -> None:
    values = stack[1]
    holders = {
        key: [program for program, own in own_variables(*stack).items() if values[key] in own.values()]
        for key in values
        if values[key]
        and any(word in key for word in ("SECRET", "PASSWORD", "FERNET", "KEY_ID", "ROOT_USER", "SIGNING"))
    }
    airflow = ["airflow-api-server", "airflow-scheduler", "airflow-dag-processor"]
    pipeline = ["store", "airflow-scheduler", "airflow-dag-processor"]
    assert {key: programs for key, programs in holders.items() if programs} == {
        "AWS_ACCESS_KEY_ID": pipeline,
        "AWS_SECRET_ACCESS_KEY": pipeline,
        "API_ACCESS_KEY_ID": ["api"],
        "API_SECRET_ACCESS_KEY": ["api"],
        "SIGNING_KEY": ["airflow-scheduler"],
        **dict.fromkeys([key for key in values if key.startswith("AIRFLOW__")], airflow),
    }


def test_with_a_store_elsewhere_the_api_has_the_pipelines_keys(stack: tuple[StackSettings, dict[str, str]]) -> None:
    elsewhere = stack[0].model_copy(update={"aws_endpoint_url_s3": "https://s3.example.org"})
    assert own_variables(elsewhere, stack[1])["api"]["AWS_ACCESS_KEY_ID"] == stack[1]["AWS_ACCESS_KEY_ID"]
    assert own_variables(*stack)["api"]["AWS_ACCESS_KEY_ID"] == stack[1]["API_ACCESS_KEY_ID"]


def test_a_program_is_run_with_its_own_variables_letter_by_letter(
    stack: tuple[StackSettings, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "ENVIRONMENTS", tmp_path / "environments")
    values = stack[1] | {"API_URL": 'it\'s $HOME; "`id`" %(x)s \\'}
    write_environments(stack[0], values)
    command = ["sh", "local/launch.sh", "front", "sh", "-c", 'printf %s "$API_URL"; env | cut -d= -f1']
    env = {"PATH": "/usr/bin:/bin", "STACK_HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert done.startswith(values["API_URL"])
    told = set(done.removeprefix(values["API_URL"]).split()) - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert told == {*env, "API_URL", "FRONT_API_KEY"}
