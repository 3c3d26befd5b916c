"""Fixtures: one object store for the session, a bucket of its own for each test."""

import fcntl
import os
import pickle
import secrets
import shutil
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest

from src.config import DATA_POINTER, PARAMETERS, PROJECT
from src.core import wine
from src.core.pointer import Pointer
from src.core.signature import public_half
from src.pipeline import steps
from src.registry import Registry
from src.settings import make_signing_key
from src.storage.bucket import Bucket
from src.storage.workspace import open_workspace
from tests.support.services import Service, gateway

if "GITLAB_CI" in os.environ:
    collect_ignore = ["integration/test_gitlab_ci.py"]  # GitLab itself is reading the file
ACCESS_KEY, SECRET_KEY = "test-access", secrets.token_hex(16)
CANDIDATES: tuple[dict[str, float], ...] = ({}, {"C": 0.5}, {"C": 0.25})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was not tested here, and what to install for it."""
    for (file, reason), count in not_tested(terminalreporter).items():
        terminalreporter.write_line(f"not tested here: {count} of {file}; {reason}", yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where NOTHING_SKIPPED is set and a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NOTHING_SKIPPED") and reporter and not_tested(reporter) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def not_tested(reporter: pytest.TerminalReporter) -> Counter[tuple[str, str]]:
    """Count the skipped tests by their file and the reason."""
    skipped = reporter.stats.get("skipped", [])
    return Counter((report.location[0], report.longrepr[2].removeprefix("Skipped: ")) for report in skipped)


@pytest.fixture(scope="session", autouse=True)
def no_bucket_but_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take a person's own bucket, or that of CI, out of the environment, and put keys of this run's own into it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name == "BUCKET" or name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        key = once_a_run(tmp_path_factory, "signing-key", lambda: make_signing_key().encode()).decode()
        monkeypatch.setenv("SIGNING_KEY", key)
        monkeypatch.setenv("TRUSTED_KEYS", public_half(key))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_ssl_context() -> Iterator[None]:
    """Make one for all calls: httpx makes one each time, in 50 ms of the processor, though all here is plain HTTP."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def data_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real table, from the bytes that ship with the project."""
    (content,) = (path for path in (PROJECT / "assets/bootstrap").glob("files/md5/*/*") if path.suffix != ".dir")
    return shutil.copyfile(content, tmp_path_factory.mktemp("data") / wine.FILE)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the object store that tests share."""
    service = gateway(tmp_path_factory.mktemp("store"), ACCESS_KEY, SECRET_KEY)
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def training(
    store: Service, data_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Pointer], dict[str, bytes]]:
    """Train three releases once in a run; return their pointers and every object that the bucket held then."""
    train = partial(train_releases, store, data_csv)
    releases, objects = pickle.loads(once_a_run(tmp_path_factory, "training", lambda: pickle.dumps(train())))
    return releases, objects


def once_a_run(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[], bytes]) -> bytes:
    """Return what ``make`` made once in this run, whose workers share it."""
    kept = common_folder(tmp_path_factory) / name
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(make())
        return kept.read_bytes()


def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this run, which the workers of pytest-xdist share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def train_releases(store: Service, data_csv: Path) -> tuple[list[Pointer], dict[str, bytes]]:
    """Train three releases from one split of the table."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(store, monkeypatch)
        data = push_data(bucket, data_csv)
        split = steps.prepare_data(data)
        about = steps.describe_run("test", "train_model")
        challengers = [steps.train_model(data, split, about, parameters={**PARAMETERS, **one}) for one in CANDIDATES]
        releases = [steps.test_model(challenger, split, register=False) for challenger in challengers]
        return releases, {key: bucket.get(key) for key in bucket.list("")}


@pytest.fixture
def trained(training: tuple[list[Pointer], dict[str, bytes]], bucket: Bucket) -> list[Pointer]:
    """Return three releases whose bytes, and the data's, are in the test's own bucket; none is promoted."""
    releases, objects = training
    for key, content in objects.items():
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=content)  # what reads it checks its md5
    return releases


@pytest.fixture
def bucket(store: Service, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return a new bucket, which the environment names."""
    return new_bucket(store, monkeypatch)


def new_bucket(store: Service, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Create a bucket and name it in the environment."""
    environment = {
        "BUCKET": f"test-{secrets.token_hex(6)}",
        "AWS_ENDPOINT_URL_S3": store.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    bucket = Bucket.from_environment()
    bucket.create()
    return bucket


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Service]:
    """Run a store that only this test uses, so that it may be stopped; :func:`new_bucket` makes a bucket there."""
    folder = tmp_path / "store"
    folder.mkdir()
    service = gateway(folder, ACCESS_KEY, SECRET_KEY)
    service.start()
    yield service
    service.stop()


@pytest.fixture
def data_in_bucket(bucket: Bucket, data_csv: Path) -> Pointer:
    """Push the real table, as ``data.dvc`` names it."""
    return push_data(bucket, data_csv)


def push_data(bucket: Bucket, csv: Path) -> Pointer:
    """Push a table the way DVC holds it, and return its pointer."""
    with open_workspace(bucket) as workspace:
        (workspace.folder / "data").mkdir()
        shutil.copyfile(csv, workspace.folder / "data" / wine.FILE)
        (pointer,) = workspace.push(workspace.folder / "data")
    return pointer


def committed_data() -> Pointer:
    """Return what ``data.dvc`` names."""
    return Pointer.from_yaml(DATA_POINTER.read_text())


@pytest.fixture(scope="module")
def shared_release(store: Service, training: tuple[list[Pointer], dict[str, bytes]]) -> Iterator[Pointer]:
    """Promote a release in a bucket that the module shares."""
    (pointer, *_), objects = training
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(store, monkeypatch)
        for key, content in objects.items():
            bucket.put(key, content)
        Registry(bucket).promote(pointer, "first", "test", {})
        yield pointer
