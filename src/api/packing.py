"""What the service has spooled becomes an object of the prediction log, in a process that gives way to requests.

A line of the spool is what was at hand when a request was answered: an answer, the body as it was sent and the
request's id, parted by tabs; or some rows of a batch as arrays, in JSON.
"""

import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from src.api.logs import warn
from src.config import PROJECT
from src.core.prediction_record import ANSWER, FIELDS, TIME_DIGITS, Prediction, encode, spell_time
from src.storage.prediction_log import GZIP

SINGLE = "/predict"
DIGITS = 6  # of a probability, as in an answer
COMMAND = [sys.executable, "-m", "src.api.packing"]
GENTLY = ["nice", "-n", "19"]  # requests come first

_decode_values = msgspec.json.Decoder(dict[str, float]).decode  # of a key that is there twice, the last counts


def pack(path: Path, is_urgent: bool) -> bytes:
    """Return a file of the spool as the bucket is to hold it, each time the same bytes."""
    command = COMMAND if is_urgent else [*GENTLY, *COMMAND]
    with path.open("rb") as file:
        return subprocess.run(command, stdin=file, stdout=subprocess.PIPE, cwd=PROJECT, check=True).stdout


def read_spooled(line: bytes) -> Iterator[Prediction]:
    """Yield the predictions of one line.

    Raises:
        ValueError: it is none of the service's.

    """
    answer, *rest = line.split(b"\t")
    told: dict[str, Any] = msgspec.json.decode(answer)
    time = spell_time(int(told["id"][:TIME_DIGITS], 16))
    if not rest:
        yield from _read_rows(time, told)
        return
    yield Prediction(
        time=time,
        id=told["id"],
        request_id=rest[1].decode(),
        route=SINGLE,
        release=told["release"],
        predicted=told[ANSWER],
        values=_decode_values(rest[0]),
        probabilities=told["probabilities"],
    )


def _read_rows(time: str, told: dict[str, Any]) -> Iterator[Prediction]:
    identifier, _, first = told["id"].partition("-")
    common = {name: told[name] for name in ("request_id", "route", "release")}
    rows = zip(told["values"], told["labels"], told["probabilities"], strict=True)
    for number, (values, label, probabilities) in enumerate(rows, int(first)):
        yield Prediction(
            time=time,
            id=f"{identifier}-{number}",
            predicted=label,
            values=dict(zip(FIELDS, values, strict=True)),
            probabilities={
                name: round(share, DIGITS) for name, share in zip(told["classes"], probabilities, strict=True)
            },
            **common,
        )


def main(source: BinaryIO, target: BinaryIO) -> int:
    """Pack what comes; a line that is broken, as after a crash of the machine, is left out."""
    packed = zlib.compressobj(1, wbits=GZIP)
    for line in source:
        try:
            lines = b"".join(encode(one) + b"\n" for one in read_spooled(line.rstrip(b"\n")))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            warn(f"a prediction is left out: {error}")
        else:
            target.write(packed.compress(lines))
    target.write(packed.flush())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stdout.buffer))
