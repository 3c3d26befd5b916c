"""The prediction log is read back from a real bucket, whatever state its objects are in; what is broken is named."""

import gzip
import json
from datetime import UTC, date, datetime

import pandas as pd
import pytest
import s3fs

from src.core.prediction_record import Label, Prediction, encode, read_line, spell_time
from src.core.wine import EXAMPLE
from src.errors import FormatError, IntegrityError
from src.storage.bucket import Bucket
from src.storage.prediction_log import (
    Faults,
    find_predictions,
    read_day,
    read_labels,
    write_labels,
)
from src.storage.reader import Reader
from tests.support.documents import blocks
from tests.support.traffic import pack, send

DAY = date(2026, 3, 1)
NOON = int(datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp()) * 10**9


def predict(number: int, worker: str = "0a0b0c0d") -> Prediction:
    moment = NOON + number * 1000
    probabilities = {"3": 0.0, "4": 0.05, "5": 0.8, "6": 0.15, "7": 0.0, "8": 0.0}
    return Prediction(
        time=spell_time(moment),
        id=f"{moment:016x}{worker}",
        request_id="r-1",
        route="/predict",
        release="0123456789ab",
        predicted=5,
        values={name: float(value) for name, value in EXAMPLE.items()},
        probabilities=probabilities,
    )


def test_a_prediction_is_found_by_its_id_among_the_objects_of_its_worker(bucket: Bucket) -> None:
    ours = [predict(number) for number in range(10)]
    first, second = send(bucket, ours[:5]), send(bucket, ours[5:])
    send(bucket, [predict(0, "ffffffff")])
    assert first.startswith("predictions/date=2026-03-01/hour=12/0a0b0c0d-")
    assert second.endswith(f"-{ours[5].id}.jsonl.gz")
    for store in (bucket, Reader.from_environment()):
        faults = Faults()
        unknown = predict(99).id
        found = find_predictions(store, [ours[4].id, ours[5].id, ours[9].id, unknown], faults)
        assert found == {one.id: one for one in (ours[4], ours[5], ours[9])}
        assert list(read_day(store, DAY, faults)) == [*ours, predict(0, "ffffffff")]
        assert list(read_day(store, date(2026, 3, 2), faults)) == []
        assert faults == Faults()


def test_a_line_is_as_the_documents_show_it() -> None:
    shown, _ = blocks("docs/predictions.md", "json")
    shown = json.loads(shown.replace(", …", ""))
    line = json.loads(encode(predict(0)))
    assert list(shown) == list(line)
    assert shown["values"].items() <= EXAMPLE.items() and shown["values"].keys() < line["values"].keys()
    assert shown["probabilities"].keys() < line["probabilities"].keys()


def test_pandas_reads_a_day_as_the_documents_say(bucket: Bucket) -> None:
    made = [predict(number) for number in range(10)]
    send(bucket, made[:5]), send(bucket, made[5:])
    (expression,) = blocks("docs/predictions.md", "python")
    expression = expression.replace("wine-quality/", f"{bucket.name}/").replace("2026-11-26", str(DAY))
    table = eval(expression, {"pandas": pd, "s3fs": s3fs})
    assert list(table["id"]) == [one.id for one in made]
    assert table["values"].iloc[0] == pytest.approx(made[0].values)


def test_an_object_cut_short_altered_or_newer_is_named_and_the_rest_counts(bucket: Bucket) -> None:
    good = [predict(number) for number in range(3)]
    send(bucket, good)
    many = pack([predict(number, "aaaaaaaa") for number in range(2000)])
    bucket.put("predictions/date=2026-03-01/hour=12/cut.jsonl.gz", many[: len(many) // 2])
    bucket.put("predictions/date=2026-03-01/hour=12/not-packed.jsonl.gz", b"hello")
    bucket.put("predictions/date=2026-03-01/hour=12/empty.jsonl.gz", b"")
    stored = bytearray(gzip.compress(b"".join(encode(predict(number, "bbbbbbbb")) + b"\n" for number in range(9)), 0))
    stored[stored.index(b'"alcohol":9.4') + len(b'"alcohol":9.')] ^= 1  # 9.5: a wine that could be
    bucket.put("predictions/date=2026-03-01/hour=12/one-bit.jsonl.gz", bytes(stored))
    line = encode(good[0])
    newer = line.replace(b'"format":1', b'"format":2').replace(b'"values"', b'"measured"')
    altered = line.replace(b'"alcohol":9.4', b'"alcohol":94.0')
    bucket.put("predictions/date=2026-03-01/hour=13/newer.jsonl.gz", gzip.compress(newer + b"\n"))
    bucket.put("predictions/date=2026-03-01/hour=13/one-line.jsonl.gz", gzip.compress(altered + b"\n" + line + b"\n"))
    faults = Faults()
    read = [one.id for one in read_day(bucket, DAY, faults)]
    assert read[:3] == [one.id for one in good]
    assert 500 < len(read) < 2000
    told = "\n".join(faults.told)
    assert "cut.jsonl.gz: the file is cut short" in told
    assert "not-packed.jsonl.gz: Error -3" in told
    assert "empty.jsonl.gz: the file is empty" in told
    assert "one-bit.jsonl.gz: Error -3 while decompressing data: incorrect data check" in told
    assert not [one for one in read if one.endswith("bbbbbbbb")]
    assert "newer.jsonl.gz: it has format 2, and this code reads formats up to 1; update the code" in told
    assert "one-line.jsonl.gz, line 1: alcohol 94 is impossible" in told


def test_an_object_of_a_name_that_the_service_gives_none_is_named_and_the_others_are_found(bucket: Bucket) -> None:
    ours = [predict(number) for number in range(3)]
    key = send(bucket, ours)
    odd = f"{key.rpartition('/')[0]}/0a0b0c0d-abc-x.jsonl.gz"
    bucket.put(odd, pack(ours[:1]))
    faults = Faults()
    assert find_predictions(bucket, [ours[1].id], faults) == {ours[1].id: ours[1]}
    assert faults.told == [f"{odd}: its name does not say which prediction is its first"]


def test_the_first_label_of_a_prediction_stands(bucket: Bucket) -> None:
    ids = [predict(number).id for number in range(3)]
    now = datetime(2026, 3, 20, tzinfo=UTC)
    first = [Label(time=now.isoformat(), id=one, label=6, by="ann") for one in ids[:2]]
    write_labels(bucket, first)
    later = now.replace(day=21).isoformat()
    write_labels(bucket, [Label(time=later, id=one, label=7, by="bob") for one in ids[1:]])
    faults = Faults()
    labels = read_labels(bucket, DAY, faults)
    assert {one: label.label for one, label in labels.items()} == dict(zip(ids, (6, 6, 7), strict=True))
    assert faults.count == 0


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (b'"id":"', b'"id":"x', "Expected `str` matching"),
        (b'"density"', b'"gravity"', "it has the features"),
        (b'"4":0.05', b'"4":0.95', "are none of a prediction of 5"),
        (b'"4":0.05', b'"44":0.05', "class 44 is impossible"),
        (b"}", b"", "Expected `float`"),
    ],
)
def test_a_line_that_this_service_would_not_have_written_is_none(before: bytes, after: bytes, told: str) -> None:
    with pytest.raises(IntegrityError, match=told):
        read_line(Prediction, encode(predict(0)).replace(before, after))


def test_a_newer_record_asks_for_newer_code() -> None:
    with pytest.raises(FormatError, match="it has format 2"):
        read_line(Prediction, encode(predict(0)).replace(b'"format":1', b'"format":2'))
