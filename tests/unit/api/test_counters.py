"""Counters that one process adds to and others read."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.api import counters
from src.api.counters import Counters, read_counters
from src.config import PROJECT


def test_another_process_goes_on_where_the_first_ended_and_all_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "0"
    mine = Counters(path)
    mine.add(("requests", "/predict", 200), 3)
    mine.put(("pid",), 1)
    code = (
        "import sys; from pathlib import Path; from src.api.counters import Counters; c = Counters(Path(sys.argv[1]))"
    )
    code += "; c.add(('requests', '/predict', 200)); c.add(('new',), 2**40); c.put(('pid',), 2)"
    subprocess.run([sys.executable, "-c", code, path], cwd=PROJECT, check=True)
    expected = {("requests", "/predict", "200"): 4, ("pid",): 2, ("new",): 2**40}
    assert dict(read_counters(path)) == dict(mine.items()) == expected


def test_names_without_a_place_are_counted_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MOST", 2)
    full = Counters()
    for name in ("first", "second", "third", "fourth", "second"):
        full.add((name,))
    assert dict(full.items()) == {("first",): 3, ("second",): 2}


def test_of_a_long_name_as_much_is_kept_as_there_is_place_for() -> None:
    one = Counters()
    one.add(("requests", "é" * 500))
    one.add(("requests", "next"))
    (first, second) = one.items()
    assert first[0][1].startswith("éé") and first[1] == 1
    assert second == (("requests", "next"), 1)
