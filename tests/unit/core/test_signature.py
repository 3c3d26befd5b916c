"""A signature holds for the bytes, the release and the key that it was made with, and for nothing else."""

import base64
import json
import os
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import MAX_POINTER_BYTES
from src.core.pointer import Pointer
from src.core.signature import Statement, name_key, open_statement, public_half, sign, trust
from src.errors import ConfigError, IntegrityError, SignatureError
from src.settings import make_signing_key

QUICK = settings(deadline=None, max_examples=100, derandomize=True)
MD5, OTHER = "0123456789abcdef0123456789abcdef.dir", "fedcba9876543210fedcba9876543210.dir"
KEY, STRANGER = make_signing_key(), make_signing_key()
TRUSTED = trust([public_half(KEY)])
FILES = {"model.onnx": b"model", "metrics.json": b"{}", "release.json": b'{"format": 1}'}
BUNDLE = sign(MD5, FILES, KEY)
NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


def verify(bundle: Any, md5: str = MD5, files: dict[str, bytes] = FILES) -> Statement:
    """Return the statement where it is of a trusted key and holds for the files."""
    statement = open_statement(bundle, md5, TRUSTED)
    statement.check(files)
    return statement


def rejected(bundle: Any, words: str, md5: str = MD5, files: dict[str, bytes] = FILES) -> None:
    with pytest.raises(SignatureError, match=f"^[^\n]*{words}[^\n]*python -m src.registry [^\n]*$"):
        verify(bundle, md5, files)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value of a bundle."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, one in inner for way in paths(one, (*path, key)))]


def put(bundle: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a bundle with another value at ``path``."""
    if not path:
        return value
    changed = deepcopy(bundle)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def state(change: Any, key: str = KEY) -> dict[str, Any]:
    """Return a bundle of which the statement was changed before it was signed."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    statement = json.loads(base64.b64decode(BUNDLE["dsseEnvelope"]["payload"]))
    payload = json.dumps(change(statement) or statement).encode()
    private = load_der_private_key(base64.b64decode(key), None)
    assert isinstance(private, EllipticCurvePrivateKey)
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    content = base64.b64encode(private.sign(signed, ECDSA(SHA256()))).decode()
    changed = put(BUNDLE, ("dsseEnvelope", "payload"), base64.b64encode(payload).decode())
    return dict(put(changed, ("dsseEnvelope", "signatures", 0, "sig"), content))


@QUICK
@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=5))
def test_what_was_signed_is_believed_and_told_by_key_and_file(files: dict[str, bytes]) -> None:
    statement = verify(sign(MD5, files, KEY), files=files)
    assert statement.key == name_key(public_half(KEY))
    assert statement.digests.keys() == files.keys()
    assert sign(MD5, files, KEY) == sign(MD5, dict(reversed(files.items())), KEY)


def test_it_travels_in_a_pointer_and_leaves_room_there() -> None:
    most = {f"{'n' * 60}{number}": b"x" for number in range(16)}  # as many files as a release may have
    pointer = Pointer(MD5, "release", meta={"signature": sign(MD5, most, KEY)})
    assert len(pointer.to_yaml()) < MAX_POINTER_BYTES / 8
    assert len(Pointer(MD5, "release", meta={"signature": BUNDLE}).to_yaml()) < 2000
    verify(Pointer.from_yaml(pointer.to_yaml()).meta["signature"], files=most)


@QUICK
@given(st.sampled_from([*FILES]), st.integers(0), st.integers(1, 255))
def test_one_altered_bit_of_any_file_is_rejected(name: str, place: int, change: int) -> None:
    altered = bytearray(FILES[name])
    altered[place % len(altered)] ^= change
    rejected(BUNDLE, f"'{name}' has other bytes", files=FILES | {name: bytes(altered)})


def test_files_that_were_added_removed_swapped_or_renamed_are_rejected() -> None:
    rejected(BUNDLE, "'evil.py' was not signed", files=FILES | {"evil.py": b""})
    rejected(BUNDLE, "'model.onnx' was signed, and is not there", files={"metrics.json": b"{}"})
    swapped = {"model.onnx": FILES["metrics.json"], "metrics.json": FILES["model.onnx"]}
    rejected(BUNDLE, "has other bytes", files=FILES | swapped)
    rejected(BUNDLE, "was signed, and is not there", files={f"{name}x": content for name, content in FILES.items()})


def test_what_nobody_signed_is_rejected_with_what_mends_it() -> None:
    rejected(None, f"release {MD5[:12]} is not signed")


def test_the_signature_of_another_release_is_rejected() -> None:
    rejected(sign(OTHER, FILES, KEY), f"is wrong: it is that of '{OTHER}'")
    rejected(BUNDLE, f"is wrong: it is that of '{MD5}'", OTHER)


def test_a_key_that_is_not_trusted_is_named_beside_those_that_are() -> None:
    theirs, ours = (name_key(public_half(key))[:12] for key in (STRANGER, KEY))
    rejected(sign(MD5, FILES, STRANGER), f"is signed by key '{theirs}', and TRUSTED_KEYS has {ours} alone.*sign")


def test_a_stranger_who_names_a_trusted_key_is_rejected() -> None:
    hint = ("verificationMaterial", "publicKey", "hint")
    rejected(put(sign(MD5, FILES, STRANGER), hint, name_key(public_half(KEY))), "the key that it names did not make it")


@QUICK
@given(st.sampled_from(["payload", "sig"]), st.integers(0), st.integers(1, 255))
def test_one_altered_bit_of_the_statement_or_the_signature_is_rejected(part: str, place: int, change: int) -> None:
    path = ("dsseEnvelope", *(("payload",) if part == "payload" else ("signatures", 0, "sig")))
    text: Any = BUNDLE
    for key in path:
        text = text[key]
    altered = bytearray(base64.b64decode(text))
    altered[place % len(altered)] ^= change
    rejected(put(BUNDLE, path, base64.b64encode(altered).decode()), "is wrong: the key that it names did not make it")


@QUICK
@given(st.sampled_from(paths(BUNDLE)), ANYTHING)
def test_no_bundle_fails_but_by_being_rejected(path: tuple[Any, ...], value: Any) -> None:
    changed = put(BUNDLE, path, value)
    try:
        assert verify(changed).release == MD5
    except SignatureError as error:
        assert len(str(error).splitlines()) == 1
    else:  # what neither tool looks at
        assert path[-1] in ("tlogEntries", "keyid") or changed == BUNDLE


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda one: one.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda one: one["predicate"]["serialization"].update(method="shards"),
        lambda one: one["predicate"]["resources"][0].update(algorithm="md5"),
        lambda one: one["predicate"]["resources"].append(one["predicate"]["resources"][0]),
        lambda one: one["predicate"]["resources"].reverse(),
        lambda one: one["subject"][0]["digest"].update(sha256="0" * 64),
        lambda one: one["subject"].append(one["subject"][0]),
        lambda one: one["predicate"].update(resources=[{"name": [], "algorithm": "sha256", "digest": "00"}]),
        lambda one: [1],
        lambda one: one["subject"][0].update(name=7),
    ],
)
def test_another_statement_of_a_trusted_key_is_no_signature(change: Any) -> None:
    assert verify(state(lambda one: None)).release == MD5
    rejected(state(change), "is wrong")


def test_what_is_huge_or_deep_is_rejected_at_once() -> None:
    huge = base64.b64encode(os.urandom(MAX_POINTER_BYTES)).decode()
    rejected(put(BUNDLE, ("dsseEnvelope", "payload"), huge), "no bundle")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    rejected(deep, "no bundle")
    rejected(put(BUNDLE, ("dsseEnvelope", "signatures"), BUNDLE["dsseEnvelope"]["signatures"] * 2), "no bundle")


@pytest.mark.parametrize("key", ["", "x", "§", base64.b64encode(b"\0" * 91).decode(), public_half(KEY) + ","])
def test_what_is_no_key_is_told_by_its_setting_and_never_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="TRUSTED_KEYS"):
        trust([key])
    with pytest.raises(ConfigError, match="^SIGNING_KEY is no private key of P-256, in base64 of PKCS #8; [^']*$"):
        sign(MD5, FILES, key)


def test_a_point_beside_the_curve_is_told_by_its_setting() -> None:
    content = base64.b64decode(public_half(KEY))
    public = base64.b64encode(content[:-1] + bytes([content[-1] ^ 1])).decode()
    with pytest.raises(ConfigError, match="TRUSTED_KEYS has .*, expected public keys of P-256"):
        trust([public])


def test_every_one_of_the_trusted_keys_is_believed() -> None:
    both = trust([public_half(STRANGER), public_half(KEY)])
    for key in (KEY, STRANGER):
        open_statement(sign(MD5, FILES, key), MD5, both).check(FILES)
    assert issubclass(SignatureError, IntegrityError)
