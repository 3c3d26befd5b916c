"""The module that describes the table agrees with itself."""

from src.core import wine
from src.core.table import describe_classes


def test_the_example_is_a_row_of_the_table() -> None:
    assert list(wine.EXAMPLE) == [feature.field for feature in wine.FEATURES]
    assert all(feature.lowest <= wine.EXAMPLE[feature.field] <= feature.highest for feature in wine.FEATURES)


def test_columns_have_different_names_and_classes_ascend() -> None:
    names = [feature.field for feature in wine.FEATURES] + [wine.TARGET]
    assert len(set(names)) == len(names)
    assert len(wine.CLASSES) >= 2 and list(wine.CLASSES) == sorted(set(wine.CLASSES))


def test_classes_are_told_as_a_range_where_none_is_left_out() -> None:
    assert describe_classes((3, 4, 5)) == "from 3 to 5"
    assert describe_classes((-2, 4)) == "among -2, 4"
