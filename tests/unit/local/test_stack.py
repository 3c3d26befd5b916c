"""``make up`` is never silent for long."""

import time

import pytest

from local import stack


def test_a_step_that_takes_long_is_told_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack, "SILENCE", 0.1)
    with stack.never_silent():
        stack.say("a long step")
        deadline = time.monotonic() + 30
        told = ""
        while told.count("… still at it") < 2:
            told += capsys.readouterr().out
            assert time.monotonic() < deadline, told
    assert "a long step" in told
