"""A feature's slider and number stand for one value: what the browser says late of one of them undoes no change."""

from types import SimpleNamespace
from typing import Any

import inputs
import pytest
import wine


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a session that shows one wine."""
    state: dict[str, Any] = {wine.STATE: {"alcohol": 10.2}}
    for module in (inputs, wine):
        monkeypatch.setattr(module, "st", SimpleNamespace(session_state=state))
    return state


def test_what_the_browser_still_says_of_a_number_that_the_slider_changed_is_no_change(state: dict[str, Any]) -> None:
    slider, number = inputs._keys("alcohol", 10.2)
    state[slider] = 14.9
    inputs._take("alcohol", slider, inputs.SLIDER)
    state[number] = 10.2  # a poll that left the browser before it knew
    inputs._take("alcohol", number, inputs.NUMBER)
    assert wine.current() == {"alcohol": 14.9}
    same, anew = inputs._keys("alcohol", 14.9)
    assert same == slider and anew != number
    state[anew] = 9.0
    inputs._take("alcohol", anew, inputs.NUMBER)
    assert wine.current() == {"alcohol": 9.0}
    assert slider not in inputs._keys("alcohol", 9.0)


def test_both_are_made_anew_for_another_wine(state: dict[str, Any]) -> None:
    before = inputs._keys("alcohol", 10.2)
    assert inputs._keys("alcohol", 10.2) == before
    assert not set(inputs._keys("alcohol", 11.0)) & set(before)


def test_an_emptied_number_is_filled_again(state: dict[str, Any]) -> None:
    slider, number = inputs._keys("alcohol", 10.2)
    state[number] = None
    inputs._take("alcohol", number, inputs.NUMBER)
    assert wine.current() == {"alcohol": 10.2}
    same, anew = inputs._keys("alcohol", 10.2)
    assert same == slider and anew != number
