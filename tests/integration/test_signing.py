"""Who can write to the bucket makes no release: what no trusted key signed is neither served, promoted nor compared.

The other side is OpenSSF model signing itself, in an environment of its own.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import wrap

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from src.checker import checks
from src.config import PROJECT
from src.core.pointer import Pointer, Split
from src.core.signature import name_key, open_statement, public_half, sign, trust
from src.errors import ConfigError, IntegrityError, RegistryError, SignatureError
from src.pipeline import steps
from src.registry import CURRENT, Registry
from src.registry.signed import sign_release
from src.settings import make_signing_key, read_trusted_keys
from src.storage.bucket import Bucket
from src.storage.workspace import open_workspace
from tests.integration.test_api_follows import get, predict, promote, serves, uvicorn
from tests.integration.test_hostile_bucket import forge_release
from tests.support.documents import blocks
from tests.support.peers import install
from tests.support.services import Service, eventually
from tests.support.throwaway import throwaway_checkout

MODEL_SIGNING = ("model-signing==1.1.1", "sigstore==4.5.1", "pyopenssl==26.4.0")  # it imports the last, and lacks it
Forge = Callable[[Bucket, Pointer, Pointer], Pointer]


def without_signature(pointer: Pointer) -> Pointer:
    return replace(pointer, meta={name: one for name, one in pointer.meta.items() if name != "signature"})


def with_signature_of_champion(_: Bucket, forged: Pointer, champion: Pointer) -> Pointer:
    return forged.with_meta(signature=champion.meta["signature"])


def with_strange_key(bucket: Bucket, forged: Pointer, _: Pointer) -> Pointer:
    return forged.with_meta(signature=sign(forged.md5, dict(bucket.read_files(forged)), make_signing_key()))


def with_other_files(bucket: Bucket, forged: Pointer, champion: Pointer) -> Pointer:
    """Return what a trusted key once said of other files, under this release's name."""
    return sign_release(forged, dict(bucket.read_files(champion)))


FORGED: dict[Forge, str] = {
    lambda _, forged, __: without_signature(forged): "is not signed; whoever knows where it comes from signs it with: ",
    with_signature_of_champion: "is wrong: it is that of ",
    with_strange_key: "is signed by key .*, and TRUSTED_KEYS has .* alone; ",
    with_other_files: "is wrong: 'model.onnx' has other bytes than were signed; ",
}


def find_rejected(api: Service, words: str) -> dict[str, str] | None:
    """Return what the API rejects, where that is for such a reason."""
    rejected: dict[str, str] | None = get(api, "/healthcheck").json()["rejected"]
    return rejected if rejected and re.search(words, rejected["reason"]) else None


def count_rejected(api: Service) -> float:
    (line,) = re.findall(r"^wine_releases_rejected_total (.*)$", get(api, "/metrics").text, re.MULTILINE)
    return float(line)


def test_a_release_that_was_replaced_with_its_pointer_is_rejected_by_all_and_the_old_champion_serves(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path
) -> None:
    first, second, _ = trained
    promote(bucket, first)
    good, registry = bucket.get(CURRENT), Registry(bucket)
    provenance = registry.load(first).provenance
    split = Split(Pointer.from_out(provenance.train), Pointer.from_out(provenance.test))
    event = Pointer.from_yaml(good).meta["promotion"]
    other = dict(bucket.read_files(second))["model.onnx"]
    api = uvicorn(tmp_path)
    api.start()
    try:
        eventually(lambda: serves(api, first))
        before = predict(api)
        forged = forge_release(bucket, first, lambda files: files.update({"model.onnx": other}))
        assert count_rejected(api) == 0
        for number, (forge, words) in enumerate(FORGED.items(), 1):
            pointer = forge(bucket, forged, first).with_meta(promotion={**event, "release": forged.id})
            bucket.put(f"registry/releases/{forged.id}.dvc", pointer.to_yaml().encode())
            bucket.put(CURRENT, pointer.to_yaml().encode())
            rejected = eventually(lambda: find_rejected(api, words))
            assert rejected["release"] == forged.id
            assert count_rejected(api) >= number
            found = dict(checks(bucket, ["model"]))
            attempts: dict[str, Callable[[], object]] = {
                "promote": lambda: promote(bucket, pointer),
                "roll back": lambda: registry.rollback(first.id, "test") and registry.rollback(forged.id, "test"),
                "check": found[f"release {forged.id}"],
                "check the champion": found[CURRENT],
                "compare": lambda: steps.check_metrics(second, split),
            }
            for attempt in attempts.values():
                bucket.put(CURRENT, pointer.to_yaml().encode())
                with pytest.raises(
                    SignatureError, match=f"release {forged.id} {words}.*python -m src.registry"
                ) as told:
                    attempt()
                assert str(told.value) == rejected["reason"]
            assert predict(api) == before
        bucket.put(CURRENT, good)
        eventually(lambda: get(api, "/healthcheck").json()["status"] == "ok")

        unsigned = without_signature(Pointer.from_yaml(good)).to_yaml()
        bucket.put(CURRENT, unsigned.encode())  # the same bytes, for which nobody stands any more
        eventually(lambda: get(api, "/healthcheck").json()["rejected"])
        api.stop()
        kept = tmp_path / "cache" / CURRENT
        assert Pointer.from_yaml(kept.read_text()).meta["signature"]
        kept.write_text(unsigned)
        api.start()
        assert f"release on disk is rejected: release {first.id} is not signed" in api.log.read_text()
        assert get(api, "/readiness").status_code == 503
        bucket.put(CURRENT, good)
        eventually(lambda: serves(api, first))
        assert predict(api) == before
    finally:
        api.stop()


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "src.registry", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def test_a_key_is_rolled_as_the_documents_say(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = trained
    promote(bucket, first)
    promote(bucket, second)
    Registry(bucket).register(third)
    old, history = read_trusted_keys(), Registry(bucket).history()
    lines = dict(line.split("=", 1) for line in run("new-key").splitlines() if not line.startswith("#"))
    new = public_half(lines["SIGNING_KEY"])
    assert lines["TRUSTED_KEYS"] == ",".join([*old, new])

    monkeypatch.setenv("TRUSTED_KEYS", lines["TRUSTED_KEYS"])
    api = uvicorn(tmp_path)
    api.start()
    try:
        eventually(lambda: serves(api, second))  # which the old key signed
        monkeypatch.setenv("SIGNING_KEY", lines["SIGNING_KEY"])
        for release in (first, second):
            assert f"release {release.id} is signed by key {name_key(new)[:12]}" in run("sign", release.id[:8])
        assert Registry(bucket).history() == history
        kept = tmp_path / "cache" / CURRENT
        eventually(lambda: name_key(new) in kept.read_text())
    finally:
        api.stop()

    monkeypatch.setenv("TRUSTED_KEYS", new)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")  # so that what is on disk is served, or nothing
    api = uvicorn(tmp_path)
    api.start()
    try:
        assert serves(api, second)
    finally:
        api.stop()
    registry = Registry(bucket)
    assert registry.rollback(None, "test").release == first.id
    ours, theirs = (name_key(key)[:12] for key in (new, *old))
    with pytest.raises(SignatureError, match=f"signed by key '{theirs}', and TRUSTED_KEYS has {ours} alone"):
        promote(bucket, registry.find(third.id))


def test_without_a_key_or_with_one_that_nobody_trusts_nothing_is_signed(
    bucket: Bucket, trained: list[Pointer], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(bucket)
    registry.register(trained[0])
    monkeypatch.setenv("SIGNING_KEY", make_signing_key())
    with pytest.raises(ConfigError, match="^TRUSTED_KEYS lacks key .*, which is SIGNING_KEY's"):
        registry.sign(trained[0].id)
    monkeypatch.delenv("SIGNING_KEY")
    with pytest.raises(ConfigError, match="^there is no SIGNING_KEY, .*; add it to .env with: make env$"):
        registry.sign(trained[0].id)
    assert registry.find(trained[0].id) == trained[0]


def test_a_stranger_s_release_is_signed_by_its_whole_md5_alone_and_a_good_signature_returns(
    bucket: Bucket, trained: list[Pointer]
) -> None:
    registry, release = Registry(bucket), trained[0]
    promote(bucket, release)
    key, unsigned = f"registry/releases/{release.id}.dvc", without_signature(release).to_yaml().encode()
    bucket.put(key, unsigned)
    for name in (release.id, release.md5[:-5]):
        with pytest.raises(RegistryError, match=f"you know its whole md5, .* sign {release.md5}$"):
            registry.sign(name)
    assert bucket.get(key) == unsigned
    assert registry.sign(release.md5).release == release.md5
    assert registry.load(registry.find(release.id))

    champion = Pointer.from_yaml(bucket.get(CURRENT))
    bucket.put(key, unsigned)
    bucket.put(CURRENT, without_signature(champion).to_yaml().encode())
    history = registry.history()
    promote(bucket, release)  # the same bytes, made anew: their signature holds
    assert registry.current() == champion
    assert registry.find(release.id) == release
    assert registry.history() == history


def test_a_pointer_that_stands_under_another_release_is_rejected(bucket: Bucket, trained: list[Pointer]) -> None:
    registry = Registry(bucket)
    promote(bucket, trained[0])
    bucket.put(f"registry/releases/{trained[1].id}.dvc", trained[0].to_yaml().encode())
    for attempt in (registry.find, registry.sign, lambda release: registry.rollback(release, "test")):
        with pytest.raises(IntegrityError, match=f"{trained[1].id}.dvc names {trained[0].md5}"):
            attempt(trained[1].id)


def write_public(path: Path, key: str) -> Path:
    path.write_text("\n".join(["-----BEGIN PUBLIC KEY-----", *wrap(key, 64), "-----END PUBLIC KEY-----", ""]))
    return path


def test_model_signing_accepts_our_signature_and_we_accept_its(
    bucket: Bucket, trained: list[Pointer], tmp_path: Path
) -> None:
    command, (public,) = str(install(*MODEL_SIGNING) / "model_signing"), read_trusted_keys()
    signature = tmp_path / "release.sig"
    signature.write_text(json.dumps(trained[0].meta["signature"]))
    with open_workspace(bucket) as workspace:
        (folder,) = workspace.pull(trained[0])
        verify = [command, "verify", "key", str(folder), "--signature", str(signature), "--public_key"]
        good = subprocess.run([*verify, str(write_public(tmp_path / "ours.pem", public))], check=False)
        stranger = write_public(tmp_path / "theirs.pem", public_half(make_signing_key()))
        bad = subprocess.run([*verify, str(stranger)], capture_output=True, check=False)
        assert (good.returncode, bad.returncode) == (0, 1)

        named = folder.rename(folder.parent / trained[0].md5)  # which says what release it is
        key = make_signing_key()
        private = load_der_private_key(base64.b64decode(key), None)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "key.pem").write_bytes(pem)
        theirs = tmp_path / "theirs.sig"
        do = [
            command,
            "sign",
            "key",
            str(named),
            "--private_key",
            str(tmp_path / "key.pem"),
            "--signature",
            str(theirs),
        ]
        subprocess.run(do, check=True)
    statement = open_statement(json.loads(theirs.read_text()), trained[0].md5, trust([public_half(key)]))
    statement.check(dict(bucket.read_files(trained[0])))
    assert statement.key == name_key(public_half(key))


def test_the_documented_commands_check_the_champion_with_that_tool(bucket: Bucket, trained: list[Pointer]) -> None:
    promote(bucket, trained[0])
    _, block = blocks("docs/signing.md", "sh")
    install_it, block = block.split("\n", 1)
    assert install_it.startswith(f"pip install {MODEL_SIGNING[0]} ")
    env = os.environ | {"PATH": f"{install(*MODEL_SIGNING)}{os.pathsep}{os.environ['PATH']}"}
    with throwaway_checkout() as checkout:
        do = ["sh", "-e", "-c", block]
        done = subprocess.run(do, cwd=checkout.folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Verification succeeded" in done.stdout
