"""A release's signature: who made it, in the format of OpenSSF model signing, so that its tools can check it too.

It is a Sigstore bundle: a DSSE envelope around an in-toto statement, whose subject is the release by its md5 and whose
predicate lists the SHA-256 of every file. ECDSA on P-256, by a plain key: nothing is asked of any network.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from src.config import MAX_POINTER_BYTES
from src.errors import ConfigError, SignatureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

Files = Mapping[str, bytes]  # a release's files by name
Trusted = Mapping[str, bytes]  # public keys, as points of the curve, by their ids

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")  # of a point of P-256, which follows it
_POINT = 65  # bytes of such a point: 4, x and y
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1  # P-256 is y² = x³ - 3x + B modulo P (SP 800-186)
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


@dataclass(frozen=True)
class Statement:
    """What a trusted key said of a release; :meth:`check` holds it against the release's bytes."""

    release: str
    key: str
    digests: Mapping[str, str]

    def check(self, files: Files) -> None:
        """Make sure that these are the files that were signed: all of them, none else, each with its bytes.

        Raises:
            SignatureError: they are not.

        """
        for name in sorted(self.digests.keys() | files.keys()):
            if name not in files:
                raise _wrong(self.release, f"{name[:100]!r} was signed, and is not there")
            if name not in self.digests:
                raise _wrong(self.release, f"{name[:100]!r} was not signed")
            if self.digests[name] != hashlib.sha256(files[name]).hexdigest():
                raise _wrong(self.release, f"{name[:100]!r} has other bytes than were signed")


def sign(md5: str, files: Files, key: str) -> dict[str, Any]:
    """Return the bundle that says that the release with this md5 has these files; equal for equal arguments.

    Raises:
        ConfigError: ``key`` is no private key of P-256, in base64 of PKCS #8.

    """
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    private = _read_private(key)
    payload = json.dumps(_state(md5, files), sort_keys=True).encode()
    signature = private.sign(_encode(payload), ECDSA(SHA256(), deterministic_signing=True))
    return {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": name_key(public_half(key))}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def open_statement(bundle: Any, md5: str, trusted: Trusted) -> Statement:
    """Return what a trusted key said of the release with this md5; nothing of it is parsed before the key is believed.

    Raises:
        SignatureError: there is no signature, or it is of another key, of another release, or of no key at all.

    """
    if bundle is None:
        raise SignatureError(
            f"release {md5[:12]} is not signed; whoever knows where it comes from signs it with: {_sign(md5)}"
        )
    key, payload, signature = _unwrap(bundle, md5)
    if key not in trusted:
        known = ", ".join(one[:12] for one in trusted)
        raise SignatureError(
            f"release {md5[:12]} is signed by key {key[:12]!r}, and TRUSTED_KEYS has {known} alone; whoever knows "
            f"where the release comes from signs it anew with: {_sign(md5)}"
        )
    _verify(trusted[key], payload, signature, md5)
    try:
        statement = json.loads(payload)
        (subject,), predicate = statement["subject"], statement["predicate"]
        kind = statement["_type"], statement["predicateType"], predicate["serialization"]["method"]
        resources = predicate["resources"]
        digests = {one["name"]: one["digest"] for one in resources if one["algorithm"] == "sha256"}
        total = hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
        is_whole = len(digests) == len(resources) and subject["digest"]["sha256"] == total
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(md5, "what was signed is no statement about files") from error
    if kind != (_STATEMENT, _PREDICATE, "files") or not is_whole:
        raise _wrong(md5, "what was signed is no statement about whole files and their SHA-256")
    if subject["name"] != md5:
        raise _wrong(md5, f"it is that of {str(subject['name'])[:100]!r}")
    return Statement(md5, key, digests)


def public_half(key: str) -> str:
    """Return the public half of a private key, in base64 of its SubjectPublicKeyInfo; raises as :func:`sign` does."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    content = _read_private(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(content).decode()


def name_key(public: str) -> str:
    """Return a public key's id: the SHA-256 of its PEM file."""
    lines = [public[start : start + 64] for start in range(0, len(public), 64)]
    pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
    return hashlib.sha256(pem.encode()).hexdigest()


def trust(keys: Iterable[str]) -> Trusted:
    """Return public keys by their ids.

    Raises:
        ConfigError: one is no public key of P-256, in base64 of its SubjectPublicKeyInfo.

    """
    return {name_key(key): _read_public(key) for key in keys}


def _state(md5: str, files: Files) -> dict[str, Any]:
    digests = {name: hashlib.sha256(files[name]) for name in sorted(files)}
    total = hashlib.sha256(b"".join(one.digest() for one in digests.values()))
    resources = [{"name": name, "algorithm": "sha256", "digest": one.hexdigest()} for name, one in digests.items()]
    return {
        "_type": _STATEMENT,
        "subject": [{"name": md5, "digest": {"sha256": total.hexdigest()}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
        },
    }


def _unwrap(bundle: Any, md5: str) -> tuple[str, bytes, bytes]:
    """Return the id of the key, what it is said to have signed, and the signature."""
    try:
        key, envelope = bundle["verificationMaterial"]["publicKey"]["hint"], bundle["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        kind = bundle["mediaType"], envelope["payloadType"]
        texts = [envelope["payload"], signature["sig"]]
        if kind != (_BUNDLE, _PAYLOAD) or not isinstance(key, str) or sum(map(len, texts)) > MAX_POINTER_BYTES:
            raise ValueError
        payload, content = (base64.b64decode(text, validate=True) for text in texts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong(md5, "it is no bundle of OpenSSF model signing by a plain key") from error
    return key, payload, content


def _verify(public: bytes, payload: bytes, signature: bytes, md5: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    key = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), public)
    try:
        key.verify(signature, _encode(payload), ECDSA(SHA256()))
    except InvalidSignature as error:
        raise _wrong(md5, "the key that it names did not make it") from error


def _encode(payload: bytes) -> bytes:
    """Return the bytes that DSSE signs: the payload with its type."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _read_private(key: str) -> "EllipticCurvePrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        private = load_der_private_key(base64.b64decode(key, validate=True), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # which might show a part of the key
        private = None
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise ConfigError("SIGNING_KEY is no private key of P-256, in base64 of PKCS #8; make one with: make env")
    return private


def _read_public(key: str) -> bytes:
    try:
        content = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    point = content.removeprefix(_SPKI)
    x, y = int.from_bytes(point[1:33]), int.from_bytes(point[33:])
    is_point = len(point) == _POINT and point[0] == 4 and max(x, y) < _P and (y * y - x**3 + 3 * x - _B) % _P == 0
    if not content.startswith(_SPKI) or not is_point:
        raise ConfigError(
            f"TRUSTED_KEYS has {key[:40]!r}, expected public keys of P-256, each in base64 of its SubjectPublicKeyInfo"
        )
    return point


def _wrong(md5: str, why: str) -> SignatureError:
    return SignatureError(
        f"the signature of release {md5[:12]} is wrong: {why}; find out who wrote it, and put another release in its "
        "place with: python -m src.registry promote ID"
    )


def _sign(md5: str) -> str:
    return f"python -m src.registry sign {md5[:12]}"
