"""People are told of each problem once, and once more when it is over, through a real webhook."""

import json
import logging
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from apprise import Apprise

from src import alerts
from src.config import ALERT_RULE
from src.core.pointer import Pointer
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket
from tests.conftest import new_bucket
from tests.integration.test_api_limits import running
from tests.support.documents import blocks
from tests.support.services import Service, eventually
from tests.support.webhook import Webhook, webhook

SINCE = datetime(2026, 11, 26, 8, 30, tzinfo=UTC)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """Return the webhook that is told."""
    with webhook() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        yield receiver


def raise_drift() -> None:
    alerts.raise_alert(alerts.DRIFT, "alcohol drifts: PSI 0.31", SINCE, "python -m src.monitoring run")


def test_the_documented_addresses_are_ones_that_apprise_knows() -> None:
    line, *_ = blocks("docs/alerts.md", "")
    command = ["sh", "-e", "-c", f'{line}printf %s "$ALERT_URLS"']
    addresses = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(",")
    assert [type(Apprise.instantiate(address)).__name__ for address in addresses] == ["NotifyEmail", "NotifyJSON"]


def test_a_problem_is_told_once_and_once_more_when_it_is_over(bucket: Bucket, receiver: Webhook) -> None:
    for _ in range(3):
        raise_drift()
    (told,) = receiver.posts
    assert told["title"] == "wine: drift"
    assert told["type"] == "failure"
    wanted = "alcohol drifts: PSI 0.31\nsince 2026-11-26 08:30 UTC\nrun: python -m src.monitoring run"
    assert told["message"] == wanted
    for _ in range(3):
        alerts.clear(alerts.DRIFT)
    assert receiver.titles == ["wine: drift", "wine: drift is over"]
    assert receiver.posts[1]["type"] == "success"
    assert "since 2026-11-26 08:30 UTC\nover since 20" in receiver.posts[1]["message"]
    raise_drift()
    assert len(receiver.posts) == 3


def test_problems_of_two_kinds_are_two(bucket: Bucket, receiver: Webhook) -> None:
    raise_drift()
    alerts.raise_alert(alerts.GUARD, "a is worse than b", SINCE, "python -m src.registry rollback")
    alerts.clear(alerts.DRIFT)
    assert receiver.titles == ["wine: drift", "wine: guard", "wine: drift is over"]
    assert json.loads(bucket.get(alerts.KEY))["problems"].keys() == {"guard"}


def test_what_the_webhook_did_not_take_is_told_at_the_next_occasion(bucket: Bucket, receiver: Webhook) -> None:
    receiver.status = 503
    raise_drift()
    receiver.status = 200
    alerts.clear(alerts.GUARD)  # any occasion
    assert receiver.titles == ["wine: drift"]
    receiver.status = 503
    alerts.clear(alerts.DRIFT)
    receiver.status = 200
    alerts.clear(alerts.GUARD)
    assert receiver.titles == ["wine: drift", "wine: drift is over"]


def test_what_was_never_told_is_not_told_to_be_over(bucket: Bucket, receiver: Webhook) -> None:
    receiver.status = 503
    raise_drift()
    alerts.clear(alerts.DRIFT)
    receiver.status = 200
    alerts.clear(alerts.DRIFT)
    assert receiver.posts == []


def test_four_who_find_it_at_once_tell_it_once(bucket: Bucket, receiver: Webhook) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: raise_drift(), range(4)))
    assert receiver.titles == ["wine: drift"]


def test_without_addresses_the_log_alone_has_it(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("ALERT_URLS", raising=False)
    with caplog.at_level(logging.WARNING):
        raise_drift()
    assert "wine: drift: alcohol drifts: PSI 0.31; since 2026-11-26 08:30 UTC; run: python -m src" in caplog.text
    assert "nobody was told, for ALERT_URLS is empty" in caplog.text
    with webhook() as receiver:
        monkeypatch.setenv("ALERT_URLS", receiver.url)
        alerts.clear(alerts.GUARD)
        assert receiver.titles == ["wine: drift"]


@pytest.mark.parametrize("urls", ["nonsense", "json://127.0.0.1:1/"])
def test_an_address_that_leads_nowhere_fails_nothing(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, urls: str
) -> None:
    monkeypatch.setenv("ALERT_URLS", urls)
    raise_drift()
    assert "not each of ALERT_URLS took it" in caplog.text
    assert not json.loads(bucket.get(alerts.KEY))["problems"]["drift"]["told"]


def test_without_the_bucket_a_problem_is_told_all_the_same(
    bucket: Bucket, receiver: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    raise_drift()
    alerts.clear(alerts.DRIFT)
    assert receiver.titles == ["wine: drift"]
    assert "monitoring/alerts.json cannot be kept: the store does not answer" in caplog.text


@pytest.mark.parametrize(("content", "kept"), [(b"{", False), (b'{"format": 2}', True)])
def test_a_broken_object_is_written_anew_and_one_of_newer_code_is_left(
    bucket: Bucket, receiver: Webhook, content: bytes, kept: bool
) -> None:
    bucket.put(alerts.KEY, content)
    raise_drift()
    assert receiver.titles == ["wine: drift"]
    assert (bucket.get(alerts.KEY) == content) == kept


class Checks:
    """One check after the other, as the DAG makes them."""

    def __init__(self, api: Service) -> None:
        self.url = api.url.removesuffix("/liveness")
        self.known: Any = None

    def __call__(self) -> dict[str, Any]:
        self.known = json.loads(json.dumps(alerts.check_service(self.url, self.known)))
        problems: dict[str, Any] = self.known["problems"]
        return problems


def test_a_rejected_release_is_told_with_the_one_that_serves(
    bucket: Bucket, trained: list[Pointer], receiver: Webhook, tmp_path: Path
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    with running(tmp_path) as api:
        check = Checks(api)
        eventually(lambda: not check())
        bucket.put(CURRENT, b"nonsense")
        eventually(check)
        check()
        (told,) = receiver.posts
        assert told["title"] == "wine: rejected release"
        assert f"and {trained[0].id} is served" in told["message"]
        assert told["message"].endswith("run: python -m src.registry rollback")
        Registry(bucket).promote(trained[0], "again", "test", {})
        eventually(lambda: not check())
    assert receiver.titles == ["wine: rejected release", "wine: rejected release is over"]


def test_a_store_and_a_service_are_told_when_they_are_away_for_long(
    own_store: Service, monkeypatch: pytest.MonkeyPatch, receiver: Webhook, tmp_path: Path
) -> None:
    new_bucket(own_store, monkeypatch)
    with running(tmp_path) as api:
        check = Checks(api)
        eventually(lambda: not check())
        own_store.stop()
        eventually(check)
        assert receiver.posts == []
        monkeypatch.setattr(alerts, "ALERT_RULE", replace(ALERT_RULE, unreachable_minutes=0))
        check()
        check()
        assert receiver.titles == ["wine: store"]
        api.stop()
        assert check().keys() == {"store", "service"}  # of which nobody knows that it is back
        api.start()
        own_store.start()
        eventually(lambda: not check())
    assert receiver.titles[:2] == ["wine: store", "wine: service"]
    assert sorted(receiver.titles[2:]) == ["wine: service is over", "wine: store is over"]


def test_what_a_check_does_not_understand_is_forgotten(receiver: Webhook) -> None:
    known = {"problems": {"store": 3}}
    assert alerts.check_service("http://127.0.0.1:1", known)["problems"].keys() == {"service"}
