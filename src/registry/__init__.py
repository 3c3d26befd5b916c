"""The model registry: the champion's pointer, promotion, roll-back and their history.

    registry/current.dvc            the champion's pointer; the only object that changes
    registry/releases/<id>.dvc      every tested release's pointer; rewritten where its signature is to hold again
    registry/promotions/<time>.json one event for each change of champion; append-only

The event of the last change travels inside ``current.dvc`` too (``meta.promotion``), so that the one write which
moves the champion also records itself: an event that a crash kept from the log is filled in by the next change.
``python -m src.registry`` is the command line.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from src.config import MAX_POINTER_BYTES, RELEASE_LIMITS
from src.core.pointer import ID_LENGTH, Pointer
from src.core.release import FOLDER, Release
from src.core.signature import Statement, Trusted, trust
from src.errors import ConflictError, FormatError, IntegrityError, MissingError, RegistryError, SignatureError
from src.registry.promotion import PROMOTE, ROLLBACK, Promotion, next_time
from src.registry.signed import SIGNATURE, read_release, read_statement, sign_release
from src.settings import read_trusted_keys
from src.storage.bucket import Bucket
from src.storage.prediction_log import Store

__all__ = ["ANY_CHAMPION", "CURRENT", "PROMOTE", "ROLLBACK", "Promotion", "Registry", "read_history", "read_pointer"]

CURRENT = "registry/current.dvc"
RELEASES = "registry/releases/"
PROMOTIONS = "registry/promotions/"
ANY_CHAMPION = "any"
TRIES = 20  # of a change that others keep overtaking


@dataclass(frozen=True)
class _State:
    """What was read: the champion, the event that made it, and the ETag that ``current.dvc`` had (None: not there).

    Where the pointer is broken or gone there is no champion, and the event is the last that was recorded.
    """

    champion: Pointer | None
    last: Promotion | None
    etag: str | None


Choose = Callable[[_State], tuple[Pointer, str]]  # the next champion, and the reason


class Registry:
    """The registry in a bucket. Reading changes nothing, and every change is one write."""

    def __init__(self, bucket: Bucket) -> None:
        """Hold the bucket; nothing is asked of it yet."""
        self.bucket = bucket

    def current(self) -> Pointer | None:
        """Return the champion's pointer, or None before the first promotion.

        Raises:
            IntegrityError: it is broken; the message names the command that puts a release in its place.
            FormatError: newer code wrote it.

        """
        try:
            pointer = read_pointer(self.bucket.get(CURRENT, MAX_POINTER_BYTES))
            _event(pointer)
        except MissingError:
            return None
        except FormatError:
            raise
        except IntegrityError as error:
            last = self._last_recorded()
            hint = f"promote {last.release}" if last else "promote ID"
            raise IntegrityError(f"{error}; put a release in its place with: python -m src.registry {hint}") from error
        return pointer

    def releases(self) -> list[str]:
        """Return the ids of all registered releases."""
        return [key.removeprefix(RELEASES).removesuffix(".dvc") for key in self.bucket.list(RELEASES)]

    def find(self, release_id: str) -> Pointer:
        """Return a registered release's pointer.

        Raises:
            RegistryError: there is none with this id.
            IntegrityError: it is none, or another release's.

        """
        try:
            pointer = read_pointer(self.bucket.get(_release_key(release_id), MAX_POINTER_BYTES))
        except MissingError as error:
            known = ", ".join(self.releases()) or "none"
            raise RegistryError(f"no release {release_id!r} in the registry, which holds: {known}") from error
        if pointer.id != release_id:
            raise IntegrityError(f"{_release_key(release_id)} names {pointer.md5}")
        return pointer

    def complete(self, beginning: str) -> str:
        """Return the one release id that begins so; what fits none is left as it is, and unknown to :meth:`find`.

        Raises:
            RegistryError: several do.

        """
        fitting = [known for known in self.releases() if beginning and known.startswith(beginning)]
        if len(fitting) > 1 and beginning not in fitting:
            raise RegistryError(f"{beginning!r} fits {len(fitting)} releases, give more of it: {', '.join(fitting)}")
        return fitting[0] if len(fitting) == 1 else beginning

    def load(self, pointer: Pointer) -> Release:
        """Return a release from the bucket, its signature and each byte verified before anything is loaded.

        Raises:
            SignatureError: no trusted key signed it.
            MissingError, IntegrityError: it is not complete.

        """
        return Release.load(read_release(self.bucket.get, pointer, self._trusted))

    def history(self) -> list[Promotion]:
        """Return all changes of champion, oldest first."""
        return read_history(self.bucket)

    def is_rolled_back(self, release_id: str) -> bool:
        """Say whether a person took this release out of service, and nobody put it back."""
        touching = [event for event in self.history() if release_id in (event.release, event.replaced)]
        return bool(touching) and touching[-1].kind == ROLLBACK and touching[-1].replaced == release_id

    def register(self, pointer: Pointer) -> None:
        """Keep a tested release's pointer; the first one kept for these bytes stays while its signature holds."""
        key = _release_key(pointer.id)
        with self.bucket.locked():
            etag = self.bucket.find_etag(key)
            try:
                read_statement(self.find(pointer.id), self._trusted)
            except (RegistryError, IntegrityError):  # it is not there, or nobody trusts it any more
                with suppress(ConflictError):  # somebody else was first
                    self.bucket.replace(key, pointer.to_yaml().encode(), etag)

    def promote(
        self,
        pointer: Pointer,
        reason: str,
        by: str,
        metrics: Mapping[str, Mapping[str, float]],
        replacing: str | None = ANY_CHAMPION,
    ) -> Promotion:
        """Make a release the champion, after every byte was read back; where it is already, do nothing.

        ``replacing`` is the id of the champion that it was compared with, None where there was none.

        Raises:
            MissingError, IntegrityError: the release is not complete, and the old champion stays.
            RegistryError: the champion is another one than ``replacing`` by now.

        """
        self.load(pointer)
        self.register(pointer)

        def choose(state: _State) -> tuple[Pointer, str]:
            compared = state.champion.id if state.champion else None
            is_done = state.champion is not None and state.champion.md5 == pointer.md5
            if replacing not in (ANY_CHAMPION, compared) and not is_done:
                raise RegistryError(f"champion is {compared}, {replacing} was compared; start a new run")
            return pointer, reason

        return self._change(PROMOTE, by, metrics, choose)

    def rollback(
        self, release_id: str | None, by: str, why: str | None = None, replacing: str = ANY_CHAMPION
    ) -> Promotion:
        """Make an earlier release the champion again: ``release_id``, or the one that the champion replaced.

        ``replacing`` is the id of the champion that is to go; ``why`` is added to the reason.

        Raises:
            RegistryError: there is nothing to go back to, or the champion is another one by now.

        """

        def choose(state: _State) -> tuple[Pointer, str]:
            if state.last is None:
                raise RegistryError("there is no champion yet, so nothing to roll back; make one with: make run")
            if replacing not in (ANY_CHAMPION, state.last.release):
                raise RegistryError(f"champion is {state.last.release}, {replacing} was to go")
            pointer = self.find(release_id or _find_replaced(self.history(), state.last.release))
            if state.champion and state.champion.id == pointer.id:
                raise RegistryError(f"{pointer.id} is the champion already")
            self.load(pointer)
            return pointer, f"rolled back from {state.last.release}" + (f": {why}" if why else "")

        return self._change(ROLLBACK, by, {}, choose)

    def sign(self, name: str) -> Statement:
        """Sign a registered release with the environment's key; return what was signed.

        Its id is name enough where a trusted key has signed it; else its whole md5 is, which a person must know. It
        takes two writes, of this release's pointer and of the champion's where it is that; after a crash between them,
        the next try does the same again.

        Raises:
            MissingError, IntegrityError: the release is not complete.
            RegistryError: no trusted key has signed it, and ``name`` is its id alone.
            ConflictError: another write came first.

        """
        with self.bucket.locked():
            key = _release_key(name[:ID_LENGTH])
            etag = self.bucket.find_etag(key)
            pointer = self.find(name[:ID_LENGTH])
            try:
                files = read_release(self.bucket.get, pointer, self._trusted)
            except SignatureError as error:
                if name not in (pointer.md5, pointer.md5.removesuffix(".dir")):
                    raise RegistryError(
                        f"no trusted key has signed release {pointer.id}: whoever wrote it may not have made it; where "
                        f"you know its whole md5, sign it with: python -m src.registry sign {pointer.md5}"
                    ) from error
                files = dict(self.bucket.read_files(pointer, RELEASE_LIMITS))
            signed = sign_release(pointer, files)
            self.bucket.replace(key, signed.to_yaml().encode(), etag)
            state = self._read()
            if state.champion and state.champion.md5 == signed.md5:
                champion = state.champion.with_meta(**{SIGNATURE: signed.meta[SIGNATURE]})
                self.bucket.replace(CURRENT, champion.to_yaml().encode(), state.etag)
        return read_statement(signed, self._trusted)

    @cached_property
    def _trusted(self) -> Trusted:
        return trust(read_trusted_keys())

    def _change(self, kind: str, by: str, metrics: Mapping[str, Mapping[str, float]], choose: Choose) -> Promotion:
        """Write the next champion where the champion is still the one that was read; else read and choose anew."""
        with self.bucket.locked():
            for _ in range(TRIES):
                state = self._read()
                pointer, reason = choose(state)
                if state.last:
                    self._record(state.last)
                    if state.champion and state.champion.md5 == pointer.md5:
                        self._repair_signature(state, pointer)
                        return state.last
                event = Promotion.read(
                    {
                        "time": next_time(state.last),
                        "kind": kind,
                        "release": pointer.id,
                        "replaced": state.last.release if state.last else None,
                        "reason": reason,
                        "by": by,
                        "metrics": metrics,
                    },
                    "the event of this change",
                )
                content = pointer.with_meta(promotion=event.model_dump(mode="json")).to_yaml().encode()
                try:
                    self.bucket.replace(CURRENT, content, state.etag)
                except ConflictError:
                    if event not in self.history():  # it is where a repeated request met its own first try
                        continue
                self._record(event)
                return event
        raise ConflictError(f"{CURRENT} was changed {TRIES} times meanwhile; try again")

    def _repair_signature(self, state: _State, pointer: Pointer) -> None:
        """Give the champion the signature that holds, where its own was spoiled."""
        assert state.champion
        if (signature := pointer.meta.get(SIGNATURE)) != state.champion.meta.get(SIGNATURE):
            repaired = state.champion.with_meta(**{SIGNATURE: signature})
            self.bucket.replace(CURRENT, repaired.to_yaml().encode(), state.etag)

    def _read(self) -> _State:
        etag = self.bucket.find_etag(CURRENT)  # first: a change after this makes the write a conflict
        try:
            champion = read_pointer(self.bucket.get(CURRENT, MAX_POINTER_BYTES))
            return _State(champion, _event(champion), etag)
        except FormatError:
            raise
        except (MissingError, IntegrityError):
            return _State(None, self._last_recorded(), etag)

    def _record(self, event: Promotion) -> None:
        key = PROMOTIONS + event.key
        try:
            self.bucket.get(key, MAX_POINTER_BYTES)
        except MissingError:
            self.bucket.put(key, event.to_json())

    def _last_recorded(self) -> Promotion | None:
        keys = self.bucket.list(PROMOTIONS)
        return self._read_event(keys[-1]) if keys else None

    def _read_event(self, key: str) -> Promotion:
        return Promotion.read_json(self.bucket.get(key, MAX_POINTER_BYTES), key)


def read_history(store: Store, most: int | None = None) -> list[Promotion]:
    """Return all changes of champion, or the last ``most``, oldest first.

    Raises:
        IntegrityError: an event is broken, or newer code wrote it.

    """
    try:  # first: a change after this records it before it records itself
        last = [_event(read_pointer(store.get(CURRENT, MAX_POINTER_BYTES)))]
    except FormatError:
        raise
    except (MissingError, IntegrityError):
        last = []
    keys = store.list(PROMOTIONS)[-(most or 0) :]
    events = [Promotion.read_json(store.get(key, MAX_POINTER_BYTES), key) for key in keys]
    return [*events, *(event for event in last if event not in events)][-(most or 0) :]


def read_pointer(content: bytes) -> Pointer:
    """Return the pointer to a release that the bytes of an object are.

    Raises:
        IntegrityError: they are none; DVC would write whatever else is named beside the project's own folders.

    """
    pointer = Pointer.from_yaml(content)
    if pointer.path != FOLDER or not pointer.is_folder:
        raise IntegrityError(f"pointer names {pointer.path!r}, expected the folder {FOLDER!r}")
    return pointer


def _event(champion: Pointer) -> Promotion:
    event = Promotion.read(champion.meta.get("promotion"), CURRENT)
    if event.release != champion.id:
        raise IntegrityError(f"{CURRENT} names {champion.id}, and its event {event.release[:100]!r}")
    return event


def _find_replaced(events: list[Promotion], release_id: str) -> str:
    for event in reversed(events):
        if event.kind == PROMOTE and event.release == release_id and event.replaced not in (None, release_id):
            return event.replaced
    raise RegistryError(f"{release_id} replaced no other release; name one of: python -m src.registry history")


def _release_key(release_id: str) -> str:
    return f"{RELEASES}{release_id}.dvc"
