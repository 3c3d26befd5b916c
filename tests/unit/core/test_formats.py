"""What is stored carries the number of its format: older ones are read, newer ones are told, others are broken."""

import json
from typing import Any

import pytest

from src.core.formats import Stored
from src.core.release import Scores
from src.errors import FormatError, IntegrityError

CONTENT: dict[str, Any] = {"train": {"ROC_AUC": 0.9}, "test": {"ROC_AUC": 0.8}}


def read(**more: Any) -> Stored:
    return Scores.read_json(json.dumps(CONTENT | more).encode(), "metrics.json")


def test_what_has_no_number_is_of_the_first_format() -> None:
    assert read().format == 1
    assert read() == read(format=1)


def test_what_newer_code_wrote_is_told_with_what_to_update() -> None:
    with pytest.raises(FormatError) as raised:
        read(format=99, train="another shape")
    assert str(raised.value) == (
        "metrics.json has format 99, and this code reads formats up to 1; update the code, in a container its image"
    )


@pytest.mark.parametrize("number", ["99", "1", 1.5, 0, -1, None, True, [1]])
def test_a_format_that_is_no_number_from_1_is_broken(number: object) -> None:
    with pytest.raises(IntegrityError, match="metrics.json is broken: format: ") as raised:
        read(format=number)
    assert not isinstance(raised.value, FormatError)


def test_names_that_the_format_does_not_know_are_ignored() -> None:
    assert read(owner="somebody", later={"a": [1]}) == read()
