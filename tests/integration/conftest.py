"""A stack that people have worked with for some days, once for all tests that only look at it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from src.core.pointer import Pointer
from tests.conftest import new_bucket
from tests.support.lived_in import LivedIn, live_in
from tests.support.services import Service


@pytest.fixture(scope="session")
def lived_in(
    store: Service,
    training: tuple[list[Pointer], dict[str, bytes]],
    data_csv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LivedIn]:
    """Run the API on a bucket that holds something of all that can be shown; a test adds labels alone."""
    trained, objects = training
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as monkeypatch:  # what runs keeps it, and no other test sees it
            bucket = new_bucket(store, monkeypatch)
            for key, content in objects.items():
                bucket.put(key, content)
            lived_in = stack.enter_context(live_in(bucket, trained, data_csv, tmp_path_factory.mktemp("lived-in")))
        yield lived_in
