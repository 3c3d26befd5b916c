"""Signed releases: a release's bytes are read where a trusted key signed them, and signed by the environment's key."""

from src.config import RELEASE_LIMITS
from src.core.pointer import Pointer
from src.core.release import Files
from src.core.signature import Statement, Trusted, name_key, open_statement, public_half, sign, trust
from src.errors import ConfigError
from src.settings import SigningSettings, read_settings, read_trusted_keys
from src.storage.bucket import Get, read_files

SIGNATURE = "signature"  # its name in the pointer's meta


def read_release(get: Get, pointer: Pointer, trusted: Trusted) -> dict[str, bytes]:
    """Return a release's files by name; none is asked for before the signature holds.

    Raises:
        SignatureError: no trusted key signed these bytes.
        MissingError, IntegrityError: they are not complete.

    """
    statement = read_statement(pointer, trusted)
    files = dict(read_files(get, pointer, RELEASE_LIMITS))
    statement.check(files)
    return files


def read_statement(pointer: Pointer, trusted: Trusted) -> Statement:
    """Return what a trusted key said of the release that a pointer names; raises as :func:`read_release` does."""
    return open_statement(pointer.meta.get(SIGNATURE), pointer.md5, trusted)


def sign_release(pointer: Pointer, files: Files) -> Pointer:
    """Return the pointer with the signature of the environment's key.

    Raises:
        ConfigError: the environment has no key, or does not trust its own.

    """
    key = read_settings(SigningSettings).signing_key
    if key is None:
        raise ConfigError("there is no SIGNING_KEY, so that no release can be signed; add it to .env with: make env")
    if (name := name_key(public_half(key.get_secret_value()))) not in trust(read_trusted_keys()):
        raise ConfigError(
            f"TRUSTED_KEYS lacks key {name[:12]}, which is SIGNING_KEY's: docs/signing.md says how to add it"
        )
    return pointer.with_meta(**{SIGNATURE: sign(pointer.md5, files, key.get_secret_value())})
