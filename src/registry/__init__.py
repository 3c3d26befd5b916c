"""The model registry: the champion's pointer, promotion, roll-back and their history.

    registry/current.dvc            the champion's pointer; the only object that changes
    registry/releases/<id>.dvc      every tested release's pointer; never rewritten
    registry/promotions/<time>.json one event for each change of champion; append-only

The event of the last change travels inside ``current.dvc`` too (``meta.promotion``), so that the one write which
moves the champion also records itself: an event that a crash kept from the log is filled in later.
``python -m src.registry`` is the command line.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from src.bucket import Bucket
from src.config import MAX_POINTER_BYTES, RELEASE_LIMITS
from src.errors import IntegrityError, MissingError, RegistryError
from src.pointer import Pointer
from src.release import FOLDER, Release

CURRENT = "registry/current.dvc"
RELEASES = "registry/releases/"
PROMOTIONS = "registry/promotions/"
ANY_CHAMPION = "any"
PROMOTE, ROLLBACK = "promote", "rollback"


@dataclass(frozen=True)
class Promotion:
    """A change of champion: ``release`` replaced ``replaced`` (None for the first); metrics are on the test rows."""

    time: str
    kind: str
    release: str
    replaced: str | None
    reason: str
    by: str
    metrics: Mapping[str, Any]

    @classmethod
    def read(cls, content: Any, where: str) -> "Promotion":
        """Read what ``asdict`` made of an event.

        Raises:
            IntegrityError: it is none; the message says that it came from ``where``.

        """
        try:
            event = cls(**content)
            is_aware = (datetime.fromisoformat(event.time) + timedelta(days=1)).tzinfo is not None
            texts = (event.kind, event.release, event.reason, event.by, event.replaced or "")
            if is_aware and all(isinstance(text, str) for text in texts) and isinstance(event.metrics, Mapping):
                return event
        except (TypeError, ValueError, OverflowError) as error:
            raise IntegrityError(f"{where} holds no event of this registry: {error}") from error
        raise IntegrityError(f"{where} holds no event of this registry")


def read_pointer(content: bytes) -> Pointer:
    """Return the pointer to a release that the bytes of an object are.

    Raises:
        IntegrityError: they are none; DVC would write whatever else is named beside the project's own folders.

    """
    pointer = Pointer.from_yaml(content)
    if pointer.path != FOLDER or not pointer.is_folder:
        raise IntegrityError(f"pointer names {pointer.path!r}, expected the folder {FOLDER!r}")
    return pointer


def current(bucket: Bucket) -> Pointer | None:
    """Return the champion's pointer, or None before the first promotion.

    Raises:
        IntegrityError: it is broken; the message names the command that puts a release in its place.

    """
    try:
        pointer = read_pointer(bucket.get(CURRENT, MAX_POINTER_BYTES))
        _event(pointer)
    except MissingError:
        return None
    except IntegrityError as error:
        last = _last_event(bucket)
        hint = f"promote {last.release}" if last else "promote ID"
        raise IntegrityError(f"{error}; put a release in its place with: python -m src.registry {hint}") from error
    return pointer


def register(bucket: Bucket, pointer: Pointer) -> None:
    """Keep a tested release's pointer; the first one kept for these bytes stays."""
    try:
        bucket.get(_release_key(pointer.id))
    except MissingError:
        bucket.put(_release_key(pointer.id), pointer.to_yaml().encode())


def find(bucket: Bucket, release_id: str) -> Pointer:
    """Return a registered release's pointer.

    Raises:
        RegistryError: there is none with this id.

    """
    try:
        return read_pointer(bucket.get(_release_key(release_id), MAX_POINTER_BYTES))
    except MissingError as error:
        known = ", ".join(releases(bucket)) or "none"
        raise RegistryError(f"no release {release_id!r} in the registry, which holds: {known}") from error


def releases(bucket: Bucket) -> list[str]:
    """Return the ids of all registered releases."""
    return [key.removeprefix(RELEASES).removesuffix(".dvc") for key in bucket.list(RELEASES)]


def history(bucket: Bucket) -> list[Promotion]:
    """Return all changes of champion, oldest first."""
    champion, _ = _champion(bucket)
    if champion is not None:
        _record(bucket, _event(champion))
    return [_read_event(bucket, key) for key in bucket.list(PROMOTIONS)]


def promote(
    bucket: Bucket,
    pointer: Pointer,
    reason: str,
    by: str,
    metrics: Mapping[str, Any],
    replacing: str | None = ANY_CHAMPION,
) -> Promotion:
    """Make a release the champion by one write, after every byte was read back; where it is already, do nothing.

    ``replacing`` is the id of the champion that it was compared with, None where there was none.

    Raises:
        MissingError, IntegrityError: the release is not whole, and the old champion stays.
        RegistryError: the champion is another one than ``replacing`` by now.

    """
    return _replace(bucket, pointer, PROMOTE, reason, by, metrics, replacing)


def rollback(bucket: Bucket, release_id: str | None, by: str) -> Promotion:
    """Make an earlier release the champion again: ``release_id``, or the one that the champion replaced.

    Raises:
        RegistryError: there is nothing to go back to.

    """
    events = history(bucket)
    if not events:
        raise RegistryError("there is no champion yet, so nothing to roll back; make one with: make run")
    if release_id is None:
        release_id = _replaced_by(events, events[-1].release)
    pointer = find(bucket, release_id)
    champion, _ = _champion(bucket)
    if champion and release_id == champion.id:
        raise RegistryError(f"{release_id} is the champion already")
    return _replace(bucket, pointer, ROLLBACK, f"rolled back from {events[-1].release}", by, {})


def is_rolled_back(bucket: Bucket, release_id: str) -> bool:
    """Say whether a person took this release out of service, and nobody put it back."""
    touching = [event for event in history(bucket) if release_id in (event.release, event.replaced)]
    return bool(touching) and touching[-1].kind == ROLLBACK and touching[-1].replaced == release_id


def load(bucket: Bucket, pointer: Pointer) -> Release:
    """Return a release from the bucket, each byte verified.

    Raises:
        MissingError, IntegrityError: it is not whole.

    """
    return Release.load(dict(bucket.read_files(pointer, RELEASE_LIMITS)))


def _replace(
    bucket: Bucket,
    pointer: Pointer,
    kind: str,
    reason: str,
    by: str,
    metrics: Mapping[str, Any],
    replacing: str | None = ANY_CHAMPION,
) -> Promotion:
    load(bucket, pointer)
    register(bucket, pointer)
    champion, last = _champion(bucket)
    if last:
        _record(bucket, last)
    if champion and last and champion.md5 == pointer.md5:
        return last
    compared = champion.id if champion else None
    if replacing not in (ANY_CHAMPION, compared):
        raise RegistryError(f"champion is {compared}, {replacing} was compared; start a new run")
    event = Promotion(_time_after(last), kind, pointer.id, last.release if last else None, reason, by, metrics)
    bucket.put(CURRENT, pointer.with_meta(promotion=asdict(event)).to_yaml().encode())
    _record(bucket, event)
    return event


def _champion(bucket: Bucket) -> tuple[Pointer | None, Promotion | None]:
    """Return the champion and the event that made it; where its pointer is broken or gone, None and the last event."""
    try:
        champion = current(bucket)
    except IntegrityError:
        champion = None
    return champion, _event(champion) if champion else _last_event(bucket)


def _event(champion: Pointer) -> Promotion:
    event = Promotion.read(champion.meta.get("promotion"), CURRENT)
    if event.release != champion.id:
        raise IntegrityError(f"{CURRENT} names {champion.id}, and its event {event.release[:100]!r}")
    return event


def _last_event(bucket: Bucket) -> Promotion | None:
    keys = bucket.list(PROMOTIONS)
    return _read_event(bucket, keys[-1]) if keys else None


def _read_event(bucket: Bucket, key: str) -> Promotion:
    try:
        return Promotion.read(json.loads(bucket.get(key, MAX_POINTER_BYTES)), key)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{key} is not JSON: {error}") from error


def _record(bucket: Bucket, event: Promotion) -> None:
    key = f"{PROMOTIONS}{event.time}.json"
    try:
        bucket.get(key)
    except MissingError:
        bucket.put(key, json.dumps(asdict(event), indent=2, ensure_ascii=False).encode())


def _time_after(last: Promotion | None) -> str:
    now = datetime.now(UTC)
    if last:  # hosts' clocks differ, and the log sorts by time
        now = max(now, datetime.fromisoformat(last.time) + timedelta(microseconds=1))
    return now.isoformat(timespec="microseconds")


def _replaced_by(events: list[Promotion], release_id: str) -> str:
    for event in reversed(events):
        if event.kind == PROMOTE and event.release == release_id and event.replaced not in (None, release_id):
            return event.replaced
    raise RegistryError(f"{release_id} replaced no other release; name one of: python -m src.registry history")


def _release_key(release_id: str) -> str:
    return f"{RELEASES}{release_id}.dvc"
