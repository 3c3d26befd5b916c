"""What ``monitoring/`` holds, in Debian's real Prometheus and Alertmanager, on the real API under traffic."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from src.config import PROJECT
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from src.registry import CURRENT, Registry
from tests.conftest import new_bucket
from tests.integration.test_api_limits import running
from tests.support.documents import blocks
from tests.support.services import Service, eventually, free_port
from tests.support.tools import needs
from tests.support.webhook import webhook

FOLDER = PROJECT / "monitoring"
KEY = "a-key-of-the-service"
RULES = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
DASHBOARD = json.loads((FOLDER / "grafana" / "wine-quality.json").read_text())
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
COMPARISON = re.compile(r" (?:==|!=|>=?|<=?) [\d.]+")
ROWS = [EXAMPLE, EXAMPLE | {"alcohol": 24.0}, EXAMPLE | {"alcohol": 13.5, "volatile_acidity": 0.3}]

pytestmark = needs("prometheus", "promtool", "prometheus-alertmanager", "amtool")


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs, by its HTTP API."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10)
        return answer.raise_for_status().json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        series: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return series

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}


def prometheus(folder: Path, api: Service, alertmanager: str = "127.0.0.1:1") -> Service:
    """Return a Prometheus with the project's own files, but in a hurry: it waits for nothing before it tells."""
    folder.mkdir(exist_ok=True)
    (folder / "api-key").write_text(KEY)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    (scrape,) = config["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(folder / "api-key")
    scrape["static_configs"] = [{"targets": [httpx.URL(api.url).netloc.decode()]}]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = re.sub(r"^( +for:) .*$", r"\1 0s", (FOLDER / "rules.yml").read_text(), flags=re.MULTILINE)
    (folder / "rules.yml").write_text(rules)
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    return Service(
        [*command, f"--web.listen-address={address}"], f"http://{address}/-/ready", folder / "prometheus.log"
    )


def alertmanager(folder: Path, receiver: str) -> Service:
    """Return an Alertmanager with the project's own file, which tells ``receiver`` at once."""
    config = (FOLDER / "alertmanager.yml").read_text().replace("http://webhook.invalid/", receiver)
    (folder / "alertmanager.yml").write_text(re.sub(r"(group_(?:wait|interval)): .*", r"\1: 1s", config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/am"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address="]
    return Service(command, f"http://{address}/-/ready", folder / "alertmanager.log")


@pytest.fixture(scope="module")
def live(shared_release: Pointer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Let Prometheus watch two workers under traffic, until the rules have found their first figures."""
    folder = tmp_path_factory.mktemp("monitoring")
    with running(folder, API_WORKERS="2", API_KEYS=KEY) as api:
        service = prometheus(folder / "prometheus", api)
        address = api.url.removesuffix("/liveness")
        try:
            service.start()
            found = Prometheus(service.url.removesuffix("/-/ready"))
            with httpx.Client(base_url=address, headers={"X-API-Key": KEY}, timeout=10) as client:
                eventually(lambda: client.get("/readiness").is_success)
                eventually(lambda: ask(client) and has_figures(found))
                yield found
        finally:
            service.stop()


def ask(client: httpx.Client) -> bool:
    """Ask for some wines, one of them unusual, and for what is none."""
    for row in ROWS * 5:
        client.post("/predict", json=row).raise_for_status()
    return client.post("/predict", json={}).status_code == 422


def has_figures(found: Prometheus) -> bool:
    return all(found.query(rule["record"]) for rule in RULES if "record" in rule)


def test_the_files_are_valid(tmp_path: Path) -> None:
    text = (FOLDER / "prometheus.yml").read_text().replace("/tmp/api-key", str(tmp_path / "api-key"))
    (tmp_path / "api-key").touch()
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "rules.yml").write_text((FOLDER / "rules.yml").read_text())
    run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    run("amtool", "check-config", str(FOLDER / "alertmanager.yml"))


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_prometheus_beside_make_up_is_set_up_as_the_docs_tell(tmp_path: Path) -> None:
    (block,) = blocks("docs/alerts.md", "bash")
    shutil.copytree(FOLDER, tmp_path / "monitoring")
    command = ["sh", "-e", "-c", block]
    env = {"PATH": os.environ["PATH"], "API_PORT": "8123"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written = yaml.safe_load((tmp_path / ".stack/prometheus/prometheus.yml").read_text())
    assert written["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:8123"]}]
    assert written["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["127.0.0.1:9093"]}]


def test_each_alert_of_the_docs_is_one_and_each_is_there() -> None:
    told = re.findall(
        r"^\| `(Wine\w+)` \|.* \| (\d+) (min|h) \|$", (PROJECT / "docs/alerts.md").read_text(), re.MULTILINE
    )
    assert {name: f"{number}{unit[0]}" for name, number, unit in told} == {
        name: alert["for"] for name, alert in ALERTS.items()
    }


def test_each_alert_is_made_to_fire_and_is_quiet_on_a_healthy_service() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    quiet = {one["alertname"] for one in tests[0]["alert_rule_test"] if not one["exp_alerts"]}
    assert fired == quiet == ALERTS.keys()
    run("promtool", "test", "rules", "rules_test.yml")


def test_each_alert_says_what_happened_and_what_to_run() -> None:
    for alert in ALERTS.values():
        assert alert["annotations"].keys() == {"summary", "command"}
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["for"]


@pytest.mark.parametrize("expression", sorted({*SHOWN, *(rule["expr"] for rule in RULES)}))
def test_each_expression_of_dashboard_and_rules_finds_series(live: Prometheus, expression: str) -> None:
    asked = COMPARISON.sub("", expression.replace("$__rate_interval", "1m"))
    series = eventually(lambda: live.query(asked))
    assert all(one["value"][1] != "NaN" for one in series), series


def test_the_figures_are_those_of_both_workers(live: Prometheus) -> None:
    assert len(live.query('process_resident_memory_bytes{job="wine-api"}')) >= 2
    assert {one["metric"]["feature"] for one in live.query("wine:unusual_share:1h > 0")} >= {"alcohol"}
    assert not live.get("rules")["groups"][0]["rules"][0].get("lastError")


def test_the_dashboard_asks_the_datasource_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasource.yml").read_text())["datasources"]
    for panel in DASHBOARD["panels"]:
        asked = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert asked == [{"type": source["type"], "uid": source["uid"]}] * len(asked)
    taken = [(x, y) for panel in DASHBOARD["panels"] for x, y in fields(panel["gridPos"])]
    assert len(taken) == len(set(taken)), "two panels overlap"


def fields(place: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        assert x < 24
        yield from ((x, y) for y in range(place["y"], place["y"] + place["h"]))


def test_a_rejected_release_a_lost_store_and_a_dead_service_fire_and_reach_a_webhook(
    own_store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = new_bucket(own_store, monkeypatch)
    (pointer, *_), objects = training
    for key, content in objects.items():
        bucket.put(key, content)
    Registry(bucket).promote(pointer, "first", "test", {})
    with webhook() as receiver, running(tmp_path) as api:
        manager = alertmanager(tmp_path, f"http://127.0.0.1:{receiver.port}/")
        watching = prometheus(tmp_path / "prometheus", api, httpx.URL(manager.url).netloc.decode())

        def told() -> set[tuple[str, str]]:
            alerts = [alert for post in receiver.posts for alert in post["alerts"]]
            return {(alert["labels"]["alertname"], alert["status"]) for alert in alerts}

        try:
            manager.start()
            watching.start()
            found = Prometheus(watching.url.removesuffix("/-/ready"))
            eventually(lambda: found.query("wine_release_info"))
            assert found.firing() == set()
            bucket.put(CURRENT, b"nonsense")
            eventually(lambda: found.firing() == {"WineReleaseRejected"})
            eventually(lambda: ("WineReleaseRejected", "firing") in told())
            Registry(bucket).promote(pointer, "again", "test", {})
            eventually(lambda: found.firing() == set())
            eventually(lambda: ("WineReleaseRejected", "resolved") in told())
            own_store.stop()
            eventually(lambda: found.firing() == {"WineStoreUnreachable"})
            api.stop()
            eventually(lambda: "WineApiDown" in found.firing())
            eventually(lambda: {("WineStoreUnreachable", "firing"), ("WineApiDown", "firing")} <= told())
        finally:
            watching.stop()
            manager.stop()
