"""Who can write to the bucket can neither write or read files elsewhere, nor stop what reads the bucket."""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from src.config import RELEASE_LIMITS
from src.core import release
from src.core.onnx_model import Model
from src.core.pointer import Pointer, Split, read_listing
from src.errors import IntegrityError
from src.pipeline import steps as pipeline
from src.registry import CURRENT, Registry
from src.storage.bucket import Bucket, content_key
from src.storage.workspace import open_workspace
from tests.conftest import new_bucket
from tests.integration.test_api_follows import get, predict, promote, serves, uvicorn
from tests.support.releases import sign
from tests.support.services import Service, eventually
from tests.support.throwaway import Checkout, throwaway_checkout

EVIL = b"written by a stranger"


def put(bucket: Bucket, content: bytes, suffix: str = "") -> str:
    """Store bytes where DVC looks for them, and return their md5."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    bucket.put(content_key(md5), content)
    return md5


def forge_folder(bucket: Bucket, path: str, files: dict[str, bytes]) -> Pointer:
    """Store a folder whose md5s are all consistent, and that names its files as a stranger likes."""
    entries = [{"md5": put(bucket, content), "relpath": name} for name, content in files.items()]
    return Pointer(put(bucket, json.dumps(entries).encode(), ".dir"), path)


def forge_release(bucket: Bucket, good: Pointer, change: Callable[[dict[str, bytes]], None]) -> Pointer:
    """Store a release that differs from a good one by ``change``, and is signed: what is loaded is no less bounded."""
    files = dict(bucket.read_files(good))
    change(files)
    return sign(bucket, forge_folder(bucket, release.FOLDER, files))


@dataclass(frozen=True)
class Served:
    """An API, the bucket that it follows, and three releases whose bytes are there."""

    bucket: Bucket
    api: Service
    releases: list[Pointer]

    def begin(self) -> tuple[Bucket, Service, Pointer, Pointer]:
        """Promote the first release, and wait until the API serves it and rejects nothing."""
        first, second, _ = self.releases
        promote(self.bucket, first)
        eventually(lambda: serves(self.api, first) and get(self.api, "/healthcheck").json()["rejected"] is None)
        return self.bucket, self.api, first, second


@pytest.fixture(scope="module")
def served(
    store: Service, training: tuple[list[Pointer], dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Run one API for all tests that alter nothing but its bucket."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bucket = new_bucket(store, monkeypatch)
        api = uvicorn(tmp_path_factory.mktemp("served"))
    releases, objects = training
    for key, content in objects.items():
        bucket.put(key, content)
    api.start()
    yield Served(bucket, api, releases)
    api.stop()


@pytest.mark.parametrize("name", ["../../evil", "a/../../../evil", "/tmp/wine-evil", "./../evil", "a//../../evil"])
def test_a_listing_that_leads_out_of_its_folder_is_not_pulled(
    bucket: Bucket, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = forge_folder(bucket, "data", {name: EVIL})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with open_workspace(bucket) as workspace:
        with pytest.raises(IntegrityError, match="stays inside its folder"):
            workspace.pull(forged)
        assert not [path for path in tmp_path.rglob("*evil*")]
    assert not Path("/tmp/wine-evil").exists()


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        (b"[" * 100_000, "not DVC's"),
        (b"null", "not DVC's"),
        (b'[{"md5": "../../x", "relpath": "a"}]', "expected 32 hex digits"),
        (b'[{"md5": "0123456789abcdef0123456789abcdef", "relpath": 7}]', "stays inside"),
        (json.dumps([{"md5": "0" * 32, "relpath": f"f{n}"} for n in range(1001)]).encode(), "names 1001 files"),
        (json.dumps([{"md5": "0" * 32, "relpath": "a"}] * 2).encode(), "names a file twice"),
        (json.dumps([{"md5": "0" * 32, "relpath": name} for name in ("a", "a/b")]).encode(), "as a file and as a fold"),
        (b" " * 2_000_000 + b"[]", "expected at most"),
    ],
)
def test_a_listing_that_is_none_is_told_as_such(bucket: Bucket, listing: bytes, words: str) -> None:
    forged = Pointer(put(bucket, listing, ".dir"), "data")
    with open_workspace(bucket) as workspace, pytest.raises(IntegrityError, match=words):
        workspace.pull(forged)


def test_a_champion_whose_train_leads_out_stops_the_daily_run_and_writes_nothing(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = forge_folder(bucket, "train.csv", {"../../../evil": EVIL})

    def change(files: dict[str, bytes]) -> None:
        provenance = json.loads(files["release.json"])
        provenance["split"]["salt"] = "another"  # so that the run asks for the rows that the champion was trained on
        provenance["train"] = train.to_out()
        files["release.json"] = json.dumps(provenance).encode()

    promote(bucket, forge_release(bucket, trained[1], change))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    provenance = Registry(bucket).load(trained[0]).provenance
    split = Split(Pointer.from_out(provenance.train), Pointer.from_out(provenance.test))
    with pytest.raises(IntegrityError, match="stays inside its folder"):
        pipeline.check_metrics(trained[0], split)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    with throwaway_checkout() as made:
        yield made


@pytest.mark.parametrize(
    ("path", "name"), [("release", "../dags/evil.py"), ("dags", "evil.py"), (".git", "hooks/evil")]
)
def test_the_command_that_pulls_a_release_writes_to_no_other_folder(
    checkout: Checkout, bucket: Bucket, path: str, name: str
) -> None:
    forged = forge_folder(bucket, path, {name: EVIL})
    (checkout.folder / "current.dvc").write_text(forged.to_yaml())
    command = [sys.executable, "-m", "src.run_dvc", "pull", "current.dvc"]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("run_dvc: ")
    assert len(done.stderr.splitlines()) == 1
    assert not list(checkout.folder.rglob("*evil*"))
    assert subprocess.run(["git", "status"], cwd=checkout.folder, capture_output=True, check=False).returncode == 0


def classifier(*nodes: onnx.NodeProto, weights: Sequence[TensorProto] = (), **more: Any) -> bytes:
    """Return a model of the table's shape whose operators are ``nodes``, from "features" to "scores"."""
    label = helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)
    graph = helper.make_graph(
        [*nodes, helper.make_node("Softmax", ["scores"], ["probabilities"]), label],
        "forged",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 11])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 6]),
        ],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10, **more).SerializeToString()
    return content


def reads_a_file() -> bytes:
    """Return a model whose weights are the bytes of ``.env``."""
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[11, 6])
    weights.data_location = TensorProto.EXTERNAL
    location = weights.external_data.add()
    location.key, location.value = "location", ".env"
    return classifier(helper.make_node("MatMul", ["features", "weights"], ["scores"]), weights=[weights])


def never_ends() -> bytes:
    """Return a model that loops for ever before it answers."""
    go_on = helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["asked"], ["go_on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("asked", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [None, 11]),
        ],
        [go_on, helper.make_tensor_value_info("after", TensorProto.FLOAT, [None, 11])],
    )
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [11, 6], [0.0] * 66)
    loop = helper.make_node("Loop", ["", "true", "features"], ["turned"], body=body)
    return classifier(loop, helper.make_node("MatMul", ["turned", "weights"], ["scores"]), weights=[true, weights])


def calls_what_is_no_standard() -> bytes:
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [11, 6], [0.0] * 66)
    gelu = helper.make_node("Gelu", ["raw"], ["scores"], domain="com.microsoft")
    return classifier(helper.make_node("MatMul", ["features", "weights"], ["raw"]), gelu, weights=[weights])


def answers_nan() -> bytes:
    """Return a model whose probabilities are no numbers."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [11, 6], [float("nan")] * 66)
    return classifier(helper.make_node("MatMul", ["features", "weights"], ["scores"]), weights=[weights])


def takes_all_memory() -> bytes:
    """Return a model that multiplies two squares of 16 GB each before it answers."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [11, 6], [0.0] * 66)
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    nodes = [
        helper.make_node("RandomUniform", [], ["square"], shape=[65_536, 65_536]),
        helper.make_node("MatMul", ["square", "square"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("MatMul", ["features", "weights"], ["raw"]),
        helper.make_node("Add", ["raw", "nothing"], ["scores"]),
    ]
    return classifier(*nodes, weights=[weights, zero])


FORGED: dict[Callable[[], bytes], str] = {
    reads_a_file: "keeps 'weights' in another file",
    never_ends: "uses 'Loop'",
    calls_what_is_no_standard: "uses 'com.microsoft.Gelu'",
    answers_nan: "does not predict: the model gives",
    takes_all_memory: "its trial failed: .*does not predict",
    lambda: b"no model": "not ONNX",
}


def test_forged_models_are_rejected_by_name_and_the_old_champion_serves(served: Served) -> None:
    bucket, api, _, second = served.begin()
    before = predict(api)
    for model, words in FORGED.items():
        forged = forge_release(bucket, second, lambda files: files.update({"model.onnx": model()}))
        bucket.put(CURRENT, forged.to_yaml().encode())
        eventually(lambda: (get(api, "/healthcheck").json()["rejected"] or {}).get("release") == forged.id)
        assert re.search(words, get(api, "/healthcheck").json()["rejected"]["reason"])
        assert predict(api) == before


def test_a_release_of_another_table_is_rejected_in_words_and_never_answers_500(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path
) -> None:
    def rename(files: dict[str, bytes]) -> None:
        for name in ("release.json", "profile.json"):
            files[name] = files[name].replace(b'"alcohol"', b'"ethanol"')

    foreign = forge_release(bucket, trained[1], rename)
    bucket.put(CURRENT, foreign.to_yaml().encode())
    api = uvicorn(tmp_path)
    api.start()
    try:
        rejected = eventually(lambda: get(api, "/healthcheck").json()["rejected"])
        assert rejected["reason"].startswith("it is of another table than the wine's, by alcohol, ethanol; update")
        for answer in (get(api, "/readiness"), get(api, "/release"), get(api, "/healthcheck")):
            assert answer.status_code == 503
        Registry(bucket).promote(trained[0], "better", "test", {})
        eventually(lambda: serves(api, trained[0]))
    finally:
        api.stop()


def test_a_model_that_failed_is_not_tried_again_at_each_poll(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path
) -> None:
    forged = forge_release(bucket, trained[1], lambda files: files.update({"model.onnx": answers_nan()}))
    bucket.put(CURRENT, forged.to_yaml().encode())
    api = uvicorn(tmp_path)
    api.start()
    try:
        eventually(lambda: get(api, "/healthcheck").json()["rejected"])
        (process,) = api.processes()
        ages = []

        def polled_often() -> bool:
            ages.append(get(api, "/healthcheck").json()["store"]["seconds_since_last_poll"])
            return len(ages) > 20

        before = process.cpu_times()
        eventually(polled_often)
        after = process.cpu_times()
        assert after.children_user == before.children_user
        assert min(ages) <= 0.1
    finally:
        api.stop()


@pytest.mark.parametrize("model", [reads_a_file, never_ends, calls_what_is_no_standard, answers_nan])
def test_a_forged_model_is_never_promoted(bucket: Bucket, trained: list[Pointer], model: Callable[[], bytes]) -> None:
    forged = forge_release(bucket, trained[1], lambda files: files.update({"model.onnx": model()}))
    with pytest.raises(IntegrityError, match=FORGED[model]):
        promote(bucket, forged)
    assert Registry(bucket).current() is None


def test_a_model_reads_no_file_even_where_nobody_looked_at_its_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes(b"s" * 4 * 11 * 6)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IntegrityError, match="does not load"):
        Model(reads_a_file())


def test_a_model_that_answers_nan_is_an_error_and_no_answer() -> None:
    with pytest.raises(IntegrityError, match="for probabilities"):
        Model(answers_nan()).predict(np.zeros((1, 11)))


@pytest.mark.parametrize(
    "content",
    [
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(ord("b"), ord("k")))
        + b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: *j}",
        b"outs: " + b"[" * 60_000,
        b"#" * 10_000_000,
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: [1]",
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: .nan}",
        b'outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: "\\uD800"}',
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: dags}]",
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: !!bool x}",
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: !!int ''}",
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: !!timestamp x}",
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: {a: 1" + b":0" * 180 + b".0}",
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release}]\nmeta: " + b"{a: " * 20 + b"1" + b"}" * 20,
        b"outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: release, size: 0x" + b"f" * 9000 + b"}]",
    ],
    ids=[
        *("aliases", "nested", "long", "meta is a list", "meta is no number", "half a character", "another folder"),
        *("no truth", "no number", "no time", "no sixtieths", "meta is nested", "no size"),
    ],
)
def test_a_hostile_pointer_is_rejected_at_once_and_may_be_replaced(served: Served, content: bytes) -> None:
    bucket, api, first, second = served.begin()
    bucket.client.put_object(Bucket=bucket.name, Key=CURRENT, Body=content)
    eventually(lambda: get(api, "/healthcheck").json()["rejected"])
    assert predict(api)["release"] == first.id
    with pytest.raises(IntegrityError, match=f"put a release in its place with: .* promote {first.id}"):
        Registry(bucket).current()
    assert Registry(bucket).promote(second, "better", "test", {}).replaced == first.id
    eventually(lambda: serves(api, second))
    assert get(api, "/release").is_success


def test_a_frozen_store_is_told_within_seconds(
    own_store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (first, *_), objects = training
    bucket = new_bucket(own_store, monkeypatch)
    for key, content in objects.items():
        bucket.put(key, content)
    promote(bucket, first)
    api = uvicorn(tmp_path)
    api.start()
    try:
        eventually(lambda: serves(api, first))
        with own_store.paused():
            eventually(lambda: get(api, "/healthcheck").json()["store"]["error"], 10)
            health = get(api, "/healthcheck").json()
            assert health["status"] == "degraded"
            assert not health["store"]["reachable"]
            assert "the last poll of the bucket ended" in health["store"]["error"]
            assert "wine_store_reachable 0.0" in get(api, "/metrics").text
            assert predict(api)["release"] == first.id
        eventually(lambda: get(api, "/healthcheck").json()["status"] == "ok")
    finally:
        api.stop()


def test_the_disk_keeps_what_is_served_and_its_predecessor_alone(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path
) -> None:
    stray = tmp_path / "cache" / "dvc" / "files" / "md5" / "00" / "stray.123"
    stray.parent.mkdir(parents=True)
    stray.touch()
    api = uvicorn(tmp_path)
    api.start()
    try:
        for pointer in trained:
            promote(bucket, pointer)
            eventually(lambda: serves(api, pointer))
        kept = {content_key(md5) for pointer in trained[1:] for md5 in list_objects(bucket, pointer)}
        eventually(lambda: on_disk(tmp_path / "cache") == kept)
    finally:
        api.stop()


def list_objects(bucket: Bucket, pointer: Pointer) -> list[str]:
    return [pointer.md5, *read_listing(bucket.get(content_key(pointer.md5)), RELEASE_LIMITS).values()]


def on_disk(cache: Path) -> set[str]:
    return {path.relative_to(cache).as_posix() for path in (cache / "dvc").rglob("*") if path.is_file()}
