"""A new table beside the old one: what is small goes on, what is not is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.config import DATA_RULE
from src.core import dataset
from src.core.table_difference import TableDifference, added_rows, compare, find_in_difference, find_in_table
from src.core.wine import TARGET


@pytest.fixture(scope="module")
def table(data_csv: Path) -> pd.DataFrame:
    return dataset.read(data_csv)


def names(difference: TableDifference) -> list[str]:
    return [finding.name for finding in find_in_difference(difference, DATA_RULE)]


def test_a_table_beside_itself_has_no_difference(table: pd.DataFrame) -> None:
    difference = compare(table, table.sample(frac=1, random_state=1))
    assert (difference.added, difference.dropped, difference.kept) == (0, 0, 1599)
    assert {(shift.psi, shift.ks, shift.far) for shift in difference.features} == {(0, 0, 0)}
    assert names(difference) == []


def test_rows_are_known_by_their_content_and_copies_are_counted(table: pd.DataFrame) -> None:
    first = table.head(1)
    new = pd.concat([table.iloc[10:], first, first])
    difference = compare(table, new)
    assert table.duplicated().iloc[4]  # one of the ten that go is a copy of the first, which stays
    assert (difference.kept, difference.added, difference.dropped) == (1591, 0, 8)
    assert len(added_rows(table, pd.concat([table, first]))) == 1


def test_another_grade_of_the_same_wine_is_another_row(table: pd.DataFrame) -> None:
    new = table.copy()
    new.loc[0, TARGET] = 8
    difference = compare(table, new)
    assert (difference.added, difference.dropped) == (1, 1)
    assert difference.classes[8] == (18, 19)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("appended", [20, 100, 300])
def test_wines_of_the_same_kind_may_be_appended(table: pd.DataFrame, seed: int, appended: int) -> None:
    mixed = table.drop_duplicates().sample(frac=1, random_state=seed)
    assert names(compare(mixed[appended:], mixed)) == []


@pytest.mark.parametrize("seed", range(5))
def test_other_wines_of_the_same_kind_have_not_shifted(table: pd.DataFrame, seed: int) -> None:
    mixed = table.drop_duplicates().sample(frac=1, random_state=seed)
    half = len(mixed) // 2
    assert names(compare(mixed[:half], mixed[half:])) == ["rows lost"]


UNITS = [
    ("alcohol", 0.01, "values times 0.01"),
    ("total sulfur dioxide", 0.001, "values times 0.001"),
    ("fixed acidity", 0.6535, "sulfuric for tartaric acid"),
    ("alcohol", 0.789, "% of mass for % of volume"),
]


@pytest.mark.parametrize(("feature", "factor", "unit"), UNITS)
@pytest.mark.parametrize("appended", [False, True])
def test_another_unit_is_named_in_the_whole_table_and_in_appended_rows(
    table: pd.DataFrame, feature: str, factor: float, unit: str, appended: bool
) -> None:
    changed = table.assign(**{feature: table[feature] * factor})
    new = pd.concat([table, changed.sample(100, random_state=1)]) if appended else changed
    found = list(find_in_difference(compare(table, new), DATA_RULE))
    assert found[0].name == f"{feature} shifted"
    assert f"looks like {unit}" in found[0].detail


@pytest.mark.parametrize("factor", [0.01, 2.4])
def test_a_few_rows_far_outside_are_counted(table: pd.DataFrame, factor: float) -> None:
    wrong = table.head(3).assign(alcohol=table["alcohol"].head(3) * factor)
    (finding,) = find_in_difference(compare(table, pd.concat([table, wrong])), DATA_RULE)
    assert finding.name == "alcohol shifted"
    assert "3 row(s) lie far outside 8.4 to 14.9" in finding.detail


@pytest.mark.parametrize(("share", "expected"), [(0.09, []), (0.11, ["rows lost"])])
def test_rows_may_go_up_to_the_limit(table: pd.DataFrame, share: float, expected: list[str]) -> None:
    assert names(compare(table, table.sample(frac=1 - share, random_state=1))) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: table, []),
        (lambda table: table.head(99), ["few rows", "classes lost"]),
        (lambda table: table[~table[TARGET].isin((3, 8))], ["classes lost"]),
    ],
)
def test_a_first_table_needs_rows_and_every_class(
    table: pd.DataFrame, change: Callable[[pd.DataFrame], pd.DataFrame], expected: list[str]
) -> None:
    assert [finding.name for finding in find_in_table(change(table), DATA_RULE)] == expected


def test_a_constant_feature_is_compared_too(table: pd.DataFrame) -> None:
    still = table.assign(density=1.0)
    assert names(compare(still, still)) == []
    assert "density shifted" in names(compare(still, table))


def test_the_index_and_distance_are_those_of_the_textbook(table: pd.DataFrame) -> None:
    old, new = (table.iloc[:200].assign(alcohol=np.arange(200) / 10 + start) for start in (0, 2))
    (alcohol,) = [shift for shift in compare(old, new).features if shift.name == "alcohol"]
    assert alcohol.ks == pytest.approx(0.1)
    # One tenth is empty (half a row), and the last one has twice its rows.
    expected = (0.5 / 200 - 0.1) * np.log(0.5 / 200 / 0.1) + (0.2 - 0.1) * np.log(2)
    assert alcohol.psi == pytest.approx(expected, rel=0.02)


def test_a_person_reads_the_difference_as_a_table(table: pd.DataFrame) -> None:
    text = compare(table, table[table[TARGET] != 3].assign(alcohol=table["alcohol"] / 100)).to_text()
    assert text.splitlines()[0] == "rows     0 kept, 1589 added, 1599 dropped"
    assert text.splitlines()[1].startswith(f"{TARGET}  3: 10 → 0  4: 53  5: 681")
    assert "10.2 (8.4 to 14.9) →" in text.splitlines()[-1] and text.endswith("values times 0.01?")
    assert len(text.splitlines()) == 14 and max(map(len, text.splitlines())) <= 120
