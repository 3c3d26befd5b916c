"""The prediction log and its labels in the bucket: where they lie, and how they are read in whatever state."""

import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Protocol

from src.core.prediction_record import (
    PROCESS,
    Label,
    Prediction,
    R,
    encode,
    find_time,
    is_id,
    read_line,
    sort_key,
    spell_time,
)
from src.errors import FormatError, IntegrityError

PREDICTIONS, LABELS = "predictions/", "labels/"
ENDING = ".jsonl.gz"
MAX_PART_BYTES = 64 * 2**20  # of one object, compressed
MAX_UNPACKED = 2**30  # of one object; what a worker sends has a hundredth
MOST_FAULTS = 20  # of one read that are worded
GZIP = zlib.MAX_WBITS | 16
CHUNK = 2**20


class Store(Protocol):
    """What is asked of the bucket: :class:`src.storage.bucket.Bucket` and the API's own reader both do it."""

    def get(self, key: str, limit: int) -> bytes:
        """Return an object's bytes."""

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""

    def list(self, prefix: str) -> list[str]:
        """Return the keys below a prefix, sorted."""


@dataclass
class Faults:
    """What of a log could not be read: its number, and the first few in words, each with the object's key."""

    count: int = 0
    told: list[str] = field(default_factory=list)

    def add(self, where: str, what: object) -> None:
        """Note one."""
        self.count += 1
        if len(self.told) < MOST_FAULTS:
            self.told.append(f"{where}: {what}")


def name_part(first: str) -> str:
    """Return the key of the object whose first prediction has this id: all are one worker's, and of one hour (UTC)."""
    return f"{_worker_prefix(first)}{first}{ENDING}"


def read_day(store: Store, day: date, faults: Faults) -> Iterator[Prediction]:
    """Yield each prediction of a day (UTC), as far as it can be read; what cannot is added to ``faults``.

    Raises:
        StoreError: the bucket cannot be reached.

    """
    for key in store.list(f"{PREDICTIONS}date={day:%Y-%m-%d}/"):
        yield from read_part(store, key, faults)


def read_latest(store: Store, today: date, days: int, most: int, faults: Faults) -> list[Prediction]:
    """Return the latest predictions of so many days, at most ``most``; a part of an hour is read as a whole."""
    latest: list[Prediction] = []
    for back in range(days):
        keys = store.list(f"{PREDICTIONS}date={today - timedelta(days=back):%Y-%m-%d}/")
        for key in sorted(keys, key=_first_of, reverse=True):
            latest += read_part(store, key, faults)
            if len(latest) >= most:
                return sorted(latest, key=attrgetter("id"))[-most:]
    return sorted(latest, key=attrgetter("id"))


def read_part(store: Store, key: str, faults: Faults) -> Iterator[Prediction]:
    """Yield the predictions of one object; see :func:`read_day`."""
    yield from read_lines(Prediction, _unpack(_get(store, key, faults), key, faults), key, faults)


def find_predictions(store: Store, ids: Iterable[str], faults: Faults) -> dict[str, Prediction]:
    """Return those of these predictions that the bucket holds, by their ids."""
    wanted: dict[str, list[str]] = {}
    for one in ids:
        wanted.setdefault(_worker_prefix(one), []).append(one)
    found: dict[str, Prediction] = {}
    for prefix, of_hour in wanted.items():
        keys = store.list(prefix)
        for key in (one for one in keys if not is_id(_first_of(one))):
            faults.add(key, "its name does not say which prediction is its first")
        for key in choose_parts(keys, of_hour):
            found |= {one.id: one for one in read_part(store, key, faults) if one.id in of_hour}
    return found


def choose_parts(keys: Sequence[str], ids: Iterable[str]) -> list[str]:
    """Return the keys of one worker's objects that may hold these predictions: of each the last that began before."""
    starts = [(sort_key(_first_of(key)), key) for key in keys if is_id(_first_of(key))]
    chosen = {max((one for one in starts if one[0] <= sort_key(wanted)), default=(None, None))[1] for wanted in ids}
    return sorted(filter(None, chosen))


def read_labels(store: Store, day: date, faults: Faults) -> dict[str, Label]:
    """Return the labels of a day's predictions by their ids; where one has two, the first that was told stands."""
    labels: dict[str, Label] = {}
    for key in store.list(_label_folder(day)):
        for label in read_lines(Label, [_get(store, key, faults)], key, faults):
            labels.setdefault(label.id, label)
    return labels


def list_labelled_days(store: Store, faults: Faults) -> list[date]:
    """Return the days of which predictions have labels, oldest first; a folder of another name is a fault."""
    days: list[date] = []
    for told in sorted({key.removeprefix(f"{LABELS}date=").partition("/")[0] for key in store.list(f"{LABELS}date=")}):
        try:
            days.append(date.fromisoformat(told))
        except ValueError:
            faults.add(f"{LABELS}date={told}", "it is the folder of no day")
    return sorted(days)


def read_labels_of(store: Store, predictions: Iterable[Prediction], faults: Faults) -> list[Label]:
    """Return the labels that these predictions have."""
    ids = {one.id for one in predictions}
    days = {find_time(one).date() for one in ids}
    return [label for day in sorted(days) for one, label in read_labels(store, day, faults).items() if one in ids]


@dataclass
class LabelsTaken:
    """What became of labels; each prediction is named in one place."""

    taken: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    labelled_before: list[str] = field(default_factory=list)
    labelled_otherwise: dict[str, int] = field(default_factory=dict)  # with the label that stands


def take_labels(store: Store, told: Iterable[tuple[str, int]], known: Collection[str], by: str) -> LabelsTaken:
    """Write labels of ``known`` predictions, of each the first."""
    days = {find_time(one).date() for one in known}
    before = {key: one.label for day in days for key, one in read_labels(store, day, Faults()).items()}
    taken, now = LabelsTaken(), spell_time(time.time_ns())
    new: list[Label] = []
    for one, label in told:
        if one not in known:
            taken.unknown.append(one)
        elif one not in before:
            before[one] = label
            taken.taken.append(one)
            new.append(Label(time=now, id=one, label=label, by=by))
        elif before[one] == label:
            taken.labelled_before.append(one)
        else:
            taken.labelled_otherwise[one] = before[one]
    write_labels(store, new)
    return taken


def write_labels(store: Store, labels: Sequence[Label]) -> None:
    """Write labels that were checked, those of each day's predictions as one object, named after the first."""
    by_day: dict[date, list[Label]] = {}
    for label in labels:
        by_day.setdefault(find_time(label.id).date(), []).append(label)
    for day, some in by_day.items():
        moment = datetime.fromisoformat(some[0].time)
        key = f"{_label_folder(day)}{moment:%Y%m%dT%H%M%S%f}-{some[0].id}.jsonl"
        store.put(key, b"".join(encode(label) + b"\n" for label in some))


def read_lines(kind: type[R], chunks: Iterable[bytes], where: str, faults: Faults) -> Iterator[R]:
    """Yield the records of a file that came in ``chunks``; a line that is none is a fault, newer ones are one."""
    number, rest = 0, b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            try:
                yield read_line(kind, line)
            except FormatError as error:
                faults.add(where, error)
                return
            except IntegrityError as error:
                faults.add(f"{where}, line {number}", error)
    if rest:
        faults.add(f"{where}, line {number + 1}", "it is cut short")


def _get(store: Store, key: str, faults: Faults) -> bytes:
    """Return an object's bytes; one that is too large or has none is a fault, and as if it were empty."""
    try:
        content = store.get(key, MAX_PART_BYTES)
        if not content:
            raise IntegrityError("the file is empty")
        return content
    except IntegrityError as error:
        faults.add(key, error)
        return b""


def _unpack(content: bytes, where: str, faults: Faults) -> Iterator[bytes]:
    """Yield what was packed: of a file that was cut short all that is there, of one that was altered nothing."""
    try:
        for _ in _inflate(content):
            pass  # the sum at the end tells of any bit
    except zlib.error as error:
        faults.add(where, error)
        return
    except IntegrityError:
        pass
    try:
        yield from _inflate(content)
    except IntegrityError as error:
        faults.add(where, error)


def _inflate(content: bytes) -> Iterator[bytes]:
    unpacked = 0
    while content:
        packed = zlib.decompressobj(GZIP)
        while not packed.eof:
            chunk = packed.decompress(content, CHUNK)
            content = packed.unconsumed_tail
            unpacked += len(chunk)
            yield chunk
            if unpacked > MAX_UNPACKED:
                raise IntegrityError(f"it unpacks to more than {MAX_UNPACKED} bytes")
            if not chunk and not content and not packed.eof:
                raise IntegrityError("the file is cut short")
        content = packed.unused_data


def _first_of(key: str) -> str:
    """Return the id that an object's name says is its first."""
    return key.rpartition("/")[2].removesuffix(ENDING).partition("-")[2]


def _worker_prefix(prediction: str) -> str:
    moment = find_time(prediction)
    return f"{PREDICTIONS}date={moment:%Y-%m-%d}/hour={moment:%H}/{prediction[PROCESS]}-"


def _label_folder(day: date) -> str:
    return f"{LABELS}date={day:%Y-%m-%d}/"
