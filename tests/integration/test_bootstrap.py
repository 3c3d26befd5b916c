"""The first state of a store: data where there is none, and users who may do what they need and no more."""

import secrets
from dataclasses import dataclass

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from pydantic import SecretStr

from src import bootstrap
from src.core.pointer import Pointer
from src.errors import StoreError
from src.registry import CURRENT, Registry
from src.settings import AccessSettings
from src.storage.bucket import Bucket
from src.storage.reader import Reader
from src.storage.users import create_users
from src.storage.workspace import open_workspace
from tests.conftest import committed_data


@dataclass(frozen=True)
class User:
    """A user of the store, by its keys."""

    key: str
    secret: str

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", self.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.secret)


@pytest.fixture
def users(bucket: Bucket) -> tuple[User, User]:
    """Return the pipeline's and the API's user of the test's own bucket."""
    pipeline, api = (User(secrets.token_hex(8), secrets.token_hex(16)) for _ in range(2))
    create_users(bucket, settings(pipeline, api), print)
    return pipeline, api


def settings(pipeline: User, api: User) -> AccessSettings:
    return AccessSettings(
        pipeline_access_key_id=pipeline.key,
        pipeline_secret_access_key=SecretStr(pipeline.secret),
        api_access_key_id=api.key,
        api_secret_access_key=SecretStr(api.secret),
    )


def test_the_command_makes_bucket_data_and_users_and_may_be_repeated(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BUCKET", f"{bucket.name}-new")
    for name in ("PIPELINE", "API"):
        monkeypatch.setenv(f"{name}_ACCESS_KEY_ID", secrets.token_hex(8))
        monkeypatch.setenv(f"{name}_SECRET_ACCESS_KEY", secrets.token_hex(16))
    assert bootstrap.main() == 0
    assert "copying from assets/bootstrap" in capsys.readouterr().out
    Bucket.from_environment().verify(committed_data())
    assert bootstrap.main() == 0
    assert "in the bucket already" in capsys.readouterr().out


def test_without_the_pipelines_keys_no_user_is_made(
    bucket: Bucket, data_in_bucket: Pointer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_ACCESS_KEY_ID", "as-in-a-dot-env")
    monkeypatch.setenv("API_SECRET_ACCESS_KEY", secrets.token_hex(16))
    assert bootstrap.main() == 0
    assert "no users are made here" in capsys.readouterr().out


def test_keys_without_their_secret_are_named(
    bucket: Bucket, data_in_bucket: Pointer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINE_ACCESS_KEY_ID", "alone")
    assert bootstrap.main() == 1
    assert "PIPELINE_SECRET_ACCESS_KEY is missing" in capsys.readouterr().err


def test_the_pipeline_pushes_and_promotes_and_deletes_nothing(
    bucket: Bucket, trained: list[Pointer], users: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    users[0].enter(monkeypatch)
    own = Bucket.from_environment()
    with open_workspace(own) as workspace:
        (workspace.folder / "new.csv").write_text("a\n1\n")
        workspace.push(workspace.folder / "new.csv")
    Registry(own).register(trained[0])
    Registry(own).promote(trained[0], "first", "test", {})
    with pytest.raises(ClientError, match="AccessDenied"):
        own.client.delete_object(Bucket=own.name, Key=CURRENT)
    with pytest.raises(ClientError, match="AccessDenied"):
        own.client.create_bucket(Bucket=f"{own.name}-other")
    assert Registry(bucket).current()


def test_the_api_reads_the_champion_and_writes_predictions_and_labels_alone(
    bucket: Bucket, trained: list[Pointer], users: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    Registry(bucket).promote(trained[0], "first", "test", {})
    bucket.put("logs/task.log", b"not for the API")
    users[1].enter(monkeypatch)
    own = Bucket.from_environment()
    champion = Registry(own).current()
    assert champion and Registry(own).load(champion)
    for rejected in (lambda: own.put(CURRENT, b"mine"), lambda: own.get("logs/task.log")):
        with pytest.raises(StoreError, match="AccessDenied"):
            rejected()
    assert bucket.get(CURRENT) != b"mine"
    for key in ("predictions/date=2026-03-01/hour=12/one", "labels/date=2026-03-01/one"):
        Reader.from_environment().put(key, b"x" * 6_000_000)  # in parts
        assert len(Reader.from_environment().get(key, 2**30)) == 6_000_000
    for key in ("monitoring/2026-03-01.json", "experiments/2026-03-01T00:00:00Z.jsonl"):
        bucket.put(key, b"{}")
        assert own.get(key) == b"{}"


def test_a_user_who_is_not_root_makes_no_users(
    bucket: Bucket, users: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    users[0].enter(monkeypatch)
    with pytest.raises(StoreError, match="does not make the user of pipeline"):
        create_users(Bucket.from_environment(), settings(*users), print)


@pytest.mark.parametrize(
    ("region", "place"),
    [("us-east-1", {}), ("eu-west-1", {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}})],
)
def test_a_bucket_is_made_in_its_region_as_aws_wants_it(region: str, place: dict[str, dict[str, str]]) -> None:
    client = boto3.Session("key", "secret", region_name=region).client("s3")
    with Stubber(client) as answers:  # no AWS is reached: botocore's own transport is the fake
        answers.add_client_error("head_bucket", "404", http_status_code=404)
        answers.add_response("create_bucket", {}, {"Bucket": "wine-quality", **place})
        Bucket("wine-quality", client).create()
        answers.assert_no_pending_responses()
