"""What ``kubernetes/`` holds is valid by the schemas, agrees with itself and with the code, and gives pods no more than
they need. No cluster takes part."""

import importlib.util
import json
import re
import runpy
from collections.abc import Iterator
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from src.api.app import app
from src.config import PROJECT
from src.settings import ApiSettings, read_settings

Object = dict[str, Any]
FOLDER = PROJECT / "kubernetes"
MANIFESTS = ("settings.yaml", "api.yaml", "front.yaml")
REGISTRY = "registry.example.com"
KEYS_OF_THE_BUCKET = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


OBJECTS: dict[tuple[str, str], Object] = {
    (document["kind"], document["metadata"]["name"]): document
    for name in MANIFESTS
    for document in yaml.safe_load_all((FOLDER / name).read_text())
}
SETTINGS: dict[str, str] = OBJECTS["ConfigMap", "wine-quality"]["data"]
DEPLOYMENTS = {name: document for (kind, name), document in OBJECTS.items() if kind == "Deployment"}
VALUES: Object = read("airflow-values.yaml")
AIRFLOW_PARTS: dict[str, Object] = {
    "worker": VALUES["workers"]["celery"],
    **{name: VALUES[name] for name in ("scheduler", "dagProcessor", "apiServer", "migrateDatabaseJob")},
}


def validate(document: Object) -> None:
    """Judge a document by the newest of Kubernetes' schemas, which reject unknown fields."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def validate_values(values: Object) -> None:
    jsonschema.validate(values, json.loads((FOLDER / "airflow-values.schema.json").read_text()))


def airflow_pod(part: Object) -> Object:
    """Return the pod that the chart makes of the values, as far as they are Kubernetes' own fields."""
    image = VALUES["images"]["airflow"]
    container = {
        "name": "airflow",
        "image": f"{image['repository']}:{image['tag']}",
        "resources": part["resources"],
        "securityContext": VALUES["securityContexts"]["containers"],
        "volumeMounts": [
            {"name": "logs", "mountPath": "/opt/airflow/logs"},
            *VALUES["volumeMounts"],
            *part.get("extraVolumeMounts", []),
        ],
        "env": yaml.safe_load(VALUES["extraEnv"]) + part.get("env", []),
        "envFrom": yaml.safe_load(VALUES["extraEnvFrom"]),
    }
    for probe in ("livenessProbe", "startupProbe"):
        if probe in part:
            container[probe] = {"exec": part[probe]}
    logs = {"name": "logs", "emptyDir": VALUES["logs"]["emptyDirConfig"]}
    spec = {
        **part["serviceAccount"],
        "securityContext": VALUES["securityContexts"]["pod"],
        "containers": [container],
        "volumes": [logs, *VALUES["volumes"], *part.get("extraVolumes", [])],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "airflow"}, "spec": spec}


PODS: dict[str, Object] = {name: document["spec"]["template"]["spec"] for name, document in DEPLOYMENTS.items()} | {
    name: airflow_pod(part)["spec"] for name, part in AIRFLOW_PARTS.items()
}


def container_of(name: str) -> Object:
    container: Object
    (container,) = PODS[name]["containers"]
    return container


def labels_of(name: str) -> dict[str, str]:
    labels: dict[str, str] = DEPLOYMENTS[name]["spec"]["template"]["metadata"]["labels"]
    return labels


def port_of(name: str) -> int:
    (port,) = container_of(name)["ports"]
    return int(port["containerPort"])


def option_names() -> Iterator[tuple[str, str]]:
    """List the section and name of each of Airflow's options, and of its Celery provider's."""
    spec = importlib.util.find_spec("airflow")
    assert spec and spec.submodule_search_locations
    airflow = Path(spec.submodule_search_locations[0])
    provider = runpy.run_path(str(airflow / "providers/celery/get_provider_info.py"))["get_provider_info"]()
    core = yaml.safe_load((airflow / "config_templates/config.yml").read_text())
    for sections in (core, provider["config"]):
        for section, description in sections.items():
            yield from ((section, name) for name in description["options"])


def created_secrets() -> dict[str, set[str]]:
    """Return the Secrets, and their keys, that the commands in the files' comments make."""
    text = "\n".join((FOLDER / name).read_text() for name in ("settings.yaml", "airflow-values.yaml"))
    commands = re.sub(r"\\\n#", " ", text)
    found = re.findall(r"^# .*create secret generic (\S+) (.*)$", commands, re.MULTILINE)
    return {name: set(re.findall(r"--from-literal=([\w.-]+)=", rest)) for name, rest in found}


@pytest.mark.parametrize(("kind", "name"), OBJECTS)
def test_every_object_is_valid(kind: str, name: str) -> None:
    validate(OBJECTS[kind, name])


@pytest.mark.parametrize("part", AIRFLOW_PARTS)
def test_what_airflows_pods_are_given_is_valid(part: str) -> None:
    validate(airflow_pod(AIRFLOW_PARTS[part]))


def test_the_charts_values_are_valid() -> None:
    validate_values(VALUES)


def test_a_misspelt_field_is_rejected() -> None:
    deployment = deepcopy(DEPLOYMENTS["wine-quality-api"])
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        validate(deployment)
    values = deepcopy(VALUES)
    values["workers"]["celery"]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="'replica' was unexpected"):
        validate_values(values)


def test_a_wrong_quantity_in_airflows_values_is_rejected() -> None:
    part = deepcopy(VALUES["scheduler"])
    part["resources"]["limits"]["memory"] = ["1Gi"]
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(airflow_pod(part))


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_what_surrounds_a_deployment_selects_its_pods(name: str) -> None:
    selectors = {
        "Deployment": DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"],
        "Service": OBJECTS["Service", name]["spec"]["selector"],
        "PodDisruptionBudget": OBJECTS["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": OBJECTS["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"],
        "spread": PODS[name]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        selected = [other for other in DEPLOYMENTS if selector.items() <= labels_of(other).items()]
        assert selected == [name], kind


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_ports_lead_to_the_container(name: str) -> None:
    (port,) = container_of(name)["ports"]
    (service,) = OBJECTS["Service", name]["spec"]["ports"]
    assert (service["port"], service["targetPort"]) == (port["containerPort"], port["name"])
    (ingress,) = OBJECTS["NetworkPolicy", name]["spec"]["ingress"]
    assert [one["port"] for one in ingress["ports"]] == [port["containerPort"]]
    assert ingress["from"], "without peers, everybody may come in"


def test_the_autoscaler_keeps_two_of_the_api_and_nothing_fights_it() -> None:
    scaler = OBJECTS["HorizontalPodAutoscaler", "wine-quality-api"]["spec"]
    target = OBJECTS[scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"]]
    assert scaler["scaleTargetRef"]["apiVersion"] == target["apiVersion"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in target["spec"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_an_update_takes_a_pod_away_only_when_another_is_ready(name: str) -> None:
    assert DEPLOYMENTS[name]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    container = container_of(name)
    assert container["readinessProbe"]
    assert 5 <= container["lifecycle"]["preStop"]["sleep"]["seconds"] < PODS[name]["terminationGracePeriodSeconds"]


def test_the_apis_probes_ask_what_it_answers() -> None:
    container, paths = container_of("wine-quality-api"), {getattr(route, "path", None) for route in app.routes}
    asked = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert asked == {"startupProbe": "/liveness", "livenessProbe": "/liveness", "readinessProbe": "/readiness"}
    assert set(asked.values()) <= paths


def test_the_api_starts_with_these_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in SETTINGS.items():
        monkeypatch.setenv(key, value)
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of("wine-quality-api")["volumeMounts"]}
    assert read_settings(ApiSettings).api_cache == Path(mounts["cache"])
    assert {"configMapRef": {"name": "wine-quality"}} in container_of("wine-quality-api")["envFrom"]


def test_every_setting_is_in_env_example() -> None:
    example = set(re.findall(r"^([A-Z0-9_]+)=", (PROJECT / ".env_example").read_text(), re.MULTILINE))
    env = {variable["name"] for name in DEPLOYMENTS for variable in container_of(name).get("env", [])}
    assert set(SETTINGS) | env | KEYS_OF_THE_BUCKET <= example


def test_no_secret_is_among_the_settings() -> None:
    assert not set(SETTINGS) & KEYS_OF_THE_BUCKET
    assert not [kind for kind, _ in OBJECTS if kind == "Secret"]


def test_the_api_may_reach_the_store_that_the_settings_name() -> None:
    dns, store = OBJECTS["NetworkPolicy", "wine-quality-api"]["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [port["port"] for port in store["ports"]] == [urlsplit(SETTINGS["AWS_ENDPOINT_URL_S3"]).port]


def test_the_page_may_reach_the_api_and_nothing_else() -> None:
    url = urlsplit(SETTINGS["API_URL"])
    (service,) = OBJECTS["Service", str(url.hostname)]["spec"]["ports"]
    assert url.port == service["port"]
    variable, key = container_of("wine-quality-front")["env"]
    assert variable["valueFrom"]["configMapKeyRef"] == {"name": "wine-quality", "key": variable["name"]}
    assert key["valueFrom"]["secretKeyRef"] == {"name": "wine-quality-front", "key": key["name"], "optional": True}
    dns, api = OBJECTS["NetworkPolicy", "wine-quality-front"]["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [peer["podSelector"]["matchLabels"] for peer in api["to"]] == [labels_of("wine-quality-api")]
    assert [port["port"] for port in api["ports"]] == [port_of("wine-quality-api")]
    (ingress,) = OBJECTS["NetworkPolicy", "wine-quality-api"]["spec"]["ingress"]
    assert {"podSelector": {"matchLabels": labels_of("wine-quality-front")}} in ingress["from"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_more_rights_than_it_needs(name: str) -> None:
    pod, container = PODS[name], container_of(name)
    assert pod["automountServiceAccountToken"] is False
    context = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    assert pod["securityContext"] == context | {"seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for kind in ("requests", "limits"):
        assert set(container["resources"][kind]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_can_write_where_it_must_and_not_without_end(name: str) -> None:
    volumes = {volume["name"]: volume for volume in PODS[name]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container_of(name)["volumeMounts"]}
    needed = {"wine-quality-api": {"/tmp", "/var/lib/wine"}, "wine-quality-front": {"/tmp"}}
    for path in needed.get(name, {"/tmp", "/opt/airflow"}):
        assert mounts[path]["emptyDir"]["sizeLimit"]
    assert len(mounts) == len(volumes) == len(PODS[name]["volumes"])


@pytest.mark.parametrize("name", PODS)
def test_an_image_has_its_name_and_a_tag(name: str) -> None:
    repository, _, tag = container_of(name)["image"].rpartition(":")
    assert repository == f"{REGISTRY}/{name if name in DEPLOYMENTS else 'wine-quality-pipeline'}"
    assert tag not in ("", "latest")


def test_kustomize_takes_every_manifest_and_names_every_image() -> None:
    kustomization = read("kustomization.yaml")
    assert set(kustomization) == {"apiVersion", "kind", "namespace", "labels", "resources", "images"}
    assert kustomization["resources"] == list(MANIFESTS)
    images = {image["name"]: image for image in kustomization["images"]}
    assert set(images) == {container_of(name)["image"].rpartition(":")[0] for name in DEPLOYMENTS}
    for image in images.values():
        assert set(image) == {"name", "newName", "newTag"}
        assert image["newTag"] not in ("", "latest")


def test_every_secret_is_made_by_a_command_that_the_files_tell() -> None:
    (login,) = VALUES["apiServer"]["extraVolumes"]
    needed = {
        VALUES["data"]["metadataSecretName"]: {"connection"},
        VALUES["data"]["brokerUrlSecretName"]: {"connection"},
        VALUES["fernetKeySecretName"]: {"fernet-key"},
        VALUES["apiSecretKeySecretName"]: {"api-secret-key"},
        VALUES["jwtSecretName"]: {"jwt-secret"},
        login["secret"]["secretName"]: {"password"},
    }
    sources = [source for name in PODS for source in container_of(name).get("envFrom", [])]
    needed |= {source["secretRef"]["name"]: KEYS_OF_THE_BUCKET for source in sources if "secretRef" in source}
    needed |= {"wine-quality-signing": {"SIGNING_KEY"}}
    assert created_secrets() == needed


def test_the_api_gets_the_readers_keys_and_the_pipeline_the_writers() -> None:
    assert {"secretRef": {"name": "wine-quality-reader"}} in container_of("wine-quality-api")["envFrom"]
    assert {"secretRef": {"name": "wine-quality-writer"}} in container_of("worker")["envFrom"]


def test_the_workers_alone_get_the_key_that_signs_releases() -> None:
    holders = [name for name in PODS if "wine-quality-signing" in str(PODS[name])]
    assert holders == ["worker"]
    (signing,) = (one for one in container_of("worker")["env"] if one["name"] == "SIGNING_KEY")
    assert signing["valueFrom"] == {"secretKeyRef": {"name": "wine-quality-signing", "key": "SIGNING_KEY"}}
    assert "TRUSTED_KEYS" in SETTINGS


def test_airflow_is_the_version_that_is_locked() -> None:
    assert VALUES["airflowVersion"] == version("apache-airflow")


def test_airflow_knows_every_option_that_is_set() -> None:
    options = set(option_names())
    in_file = {(section, name) for section, values in VALUES["config"].items() for name in values}
    variables = [variable["name"] for variable in container_of("worker")["env"]]
    in_environment = {tuple(name.lower().split("__")[1:]) for name in variables if name.startswith("AIRFLOW__")}
    assert in_environment == {("logging", "remote_base_log_folder")}
    assert in_file | in_environment <= options


def test_the_logs_go_to_the_bucket_of_the_settings() -> None:
    bucket, folder = container_of("scheduler")["env"]
    assert bucket["valueFrom"]["configMapKeyRef"] == {"name": "wine-quality", "key": "BUCKET"}
    assert folder["value"] == "s3://$(BUCKET)/logs"  # which Kubernetes expands from the variables before it


def test_workers_preload_what_is_there_and_may_end_their_tasks() -> None:
    preloaded = json.loads(VALUES["config"]["celery"]["extra_celery_config"])["imports"]
    assert all((PROJECT / f"{module.replace('.', '/')}.py").is_file() for module in preloaded)
    longest = re.search(r"execution_timeout.*minutes=(\d+)", (PROJECT / "dags/tasks.py").read_text())
    assert longest
    assert VALUES["workers"]["celery"]["terminationGracePeriodSeconds"] > 60 * int(longest[1])


def test_nothing_calls_what_only_the_official_image_holds() -> None:
    """The chart's probes go through /entrypoint and its groomers run /clean-logs, wherever these values are silent."""
    for name in ("worker", "scheduler", "dagProcessor"):
        assert AIRFLOW_PARTS[name]["livenessProbe"]["command"]
        assert AIRFLOW_PARTS[name]["logGroomerSidecar"]["enabled"] is False
    assert VALUES["scheduler"]["startupProbe"]["command"]
    assert VALUES["createUserJob"]["enabled"] is False
    assert VALUES["triggerer"]["enabled"] is False


def test_the_login_is_made_from_the_secret_by_what_the_image_holds() -> None:
    (mount,) = VALUES["apiServer"]["extraVolumeMounts"]
    command = VALUES["apiServer"]["args"][-1]
    (file, module) = re.findall(r"\$\(cat (\S+)\) python -m (\S+) && exec airflow api-server$", command)[0]
    assert file == f"{mount['mountPath']}/password"
    assert (PROJECT / f"{module.replace('.', '/')}.py").is_file()
    package, _, _ = VALUES["config"]["core"]["auth_manager"].rpartition(".")
    assert importlib.util.find_spec(package)
