"""What ``Dockerfile``, ``docker-compose.yaml`` and ``kubernetes/`` must agree on; ``make compose-test`` runs them."""

import re
from typing import Any

import pytest
import yaml

from src.config import PROJECT
from src.settings import StackSettings

DOCKERFILE = (PROJECT / "Dockerfile").read_text()
TEXT = (PROJECT / "docker-compose.yaml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
ONE_SHOT = {"airflow-init", "bootstrap"}
AIRFLOW = {name for name in SERVICES if name.startswith("airflow-")}
HEALTH_OF_THE_IMAGE = {"airflow-worker", "api", "front"}  # the others say their own
PORTS = {"api": "8000", "front": "8501"}
TARGETS = ("api", "front", "pipeline")


def needs(name: str) -> set[str]:
    """Return every service that must be up or done before this one starts."""
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct.union(*(needs(other) for other in direct))


def stage(target: str) -> str:
    """Return the instructions of one of the Dockerfile's final stages."""
    (text,) = re.findall(rf"^FROM base AS {target}$\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_limited_restarted_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    if name in ONE_SHOT:
        assert service["healthcheck"] == {"disable": True}
    else:
        assert ("healthcheck" in service) != (name in HEALTH_OF_THE_IMAGE)


def test_images_of_others_are_pinned_and_ours_are_hardened() -> None:
    for service in SERVICES.values():
        if "wine-quality" in service["image"]:
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
        else:
            assert re.fullmatch(r"[a-z/]+:(v?\d+(\.\d+)*|RELEASE\.[\dTZ-]+)", service["image"])


def test_each_image_of_ours_is_built_once_and_before_what_else_runs_it() -> None:
    builders = {service["image"]: name for name, service in SERVICES.items() if "build" in service}
    assert len(builders) == len([service for service in SERVICES.values() if "build" in service]) == len(TARGETS)
    for name, service in SERVICES.items():
        if "wine-quality" in service["image"]:
            assert builders[service["image"]] in {name, *needs(name)}
    for image, name in builders.items():
        assert image == f"wine-quality-{SERVICES[name]['build']['target']}:${{IMAGE_TAG:-latest}}"


def test_a_service_waits_for_what_it_needs_by_condition() -> None:
    for name, service in SERVICES.items():
        for needed, wait in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert wait == {"condition": wanted}, f"{name} on {needed}"
    first = {name for name, service in SERVICES.items() if "depends_on" not in service}
    assert first == {"alertmanager", "minio", "postgres", "redis"}


def test_airflows_parts_agree_and_its_workers_know_no_login_no_token_key_and_no_database() -> None:
    worker = SERVICES["airflow-worker"]["environment"]
    head, *others = (SERVICES[name]["environment"] for name in sorted(AIRFLOW - {"airflow-worker"}))
    assert all(other == head for other in others)
    assert worker.keys() - head.keys() == {"SIGNING_KEY"}  # its tasks make the releases
    assert {key: value for key, value in worker.items() if key != "SIGNING_KEY"}.items() <= head.items()
    assert "AIRFLOW__CORE__EXECUTION_API_SERVER_URL" in worker
    more = {"AIRFLOW_PASSWORD", "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__FERNET_KEY"}
    assert {*more, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"} <= head.keys() - worker.keys()
    assert not re.search("POSTGRES|JWT|FERNET", str(worker))
    assert not any("volumes" in SERVICES[name] for name in AIRFLOW)


def test_every_variable_is_in_the_example_and_each_secret_is_required() -> None:
    used = dict(re.findall(r"\$\{(\w+)(:[?-])?", TEXT))
    fields = {name.upper() for name in StackSettings.model_fields}
    assert used.keys() - fields == {"BUILD_NETWORK", "IMAGE_TAG"}
    optional = {name for name, kind in re.findall(r"\$\{(\w+)(:-)", TEXT)}
    secrets = {name for name in optional if re.search("PASSWORD|SECRET|KEY", name) and "CLEARML" not in name}
    assert secrets == {"API_KEYS", "FRONT_API_KEY"}  # of clients, whom nothing is asked where there are none
    assert {name for name in used if f"${{{name}:?set {name} in .env}}" in TEXT} == used.keys() - optional


def test_no_service_has_keys_to_more_than_it_does() -> None:
    root = {name for name, service in SERVICES.items() if "MINIO_ROOT" in str(service)}
    assert root == {"bootstrap", "minio"}
    assert "${AWS_SECRET_ACCESS_KEY" not in str(SERVICES["api"])
    assert [name for name, service in SERVICES.items() if "SIGNING_KEY" in str(service)] == ["airflow-worker"]
    assert SERVICES["api"]["environment"]["TRUSTED_KEYS"] == "${TRUSTED_KEYS}"
    assert "environment" in SERVICES["front"] and SERVICES["front"]["environment"].keys() == {
        "API_URL",
        "FRONT_API_KEY",
    }


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_the_one_that_kubernetes_expects(target: str) -> None:
    text = stage(target)
    assert "USER 10001:10001" in text
    assert "HEALTHCHECK" in text
    assert f"EXPOSE {PORTS[target]}" in text if target in PORTS else "EXPOSE" not in text
    manifests = "".join((PROJECT / "kubernetes" / name).read_text() for name in ("api.yaml", "airflow-values.yaml"))
    for path in re.findall(r"--group=wine (\S+)", text):
        assert f"mountPath: {path}" in manifests
