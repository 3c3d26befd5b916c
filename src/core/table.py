"""What a table is made of; ``wine.py`` describes the one that the project is about."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """One measured property; the table holds no value outside ``lowest`` to ``highest`` (inclusive)."""

    name: str
    unit: str
    lowest: float
    highest: float

    @property
    def field(self) -> str:
        """Return the name as requests and Python spell it."""
        return spell(self.name)

    @property
    def label(self) -> str:
        """Return the name with its unit, for people."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def spell(name: str) -> str:
    """Return a name as requests and Python spell it: ``fixed_acidity`` for ``fixed acidity``."""
    return name.replace(" ", "_")


def describe_classes(classes: Sequence[int]) -> str:
    """Return ascending classes for people: "from 3 to 8" where none between is left out, else "among 2, 4"."""
    if list(classes) == list(range(classes[0], classes[-1] + 1)):
        return f"from {classes[0]} to {classes[-1]}"
    return f"among {', '.join(map(str, classes))}"
