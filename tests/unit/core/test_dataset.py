"""The wine table: what is rejected, by which words, and how it is split."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from src.config import SPLIT, SplitRule
from src.core import dataset
from src.core.wine import CLASSES, FEATURES, TARGET
from src.errors import DataError

WINE = st.tuples(*(st.floats(feature.lowest, feature.highest) for feature in FEATURES), st.sampled_from(CLASSES))
WINES = st.lists(WINE, min_size=1, max_size=6)
# Without a search for the smallest failing table, which takes minutes.
QUICK = settings(deadline=None, max_examples=25, derandomize=True, phases=[Phase.generate])


@pytest.fixture(scope="module")
def table(data_csv: Path) -> pd.DataFrame:
    return dataset.read(data_csv)


def changed(data_csv: Path, folder: Path, line: int, old: str, new: str) -> Path:
    lines = data_csv.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path = folder / "changed.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_table_is_the_published_one(table: pd.DataFrame) -> None:
    assert list(table.columns) == dataset.COLUMNS
    assert table[TARGET].value_counts().to_dict() == {5: 681, 6: 638, 7: 199, 4: 53, 8: 18, 3: 10}
    assert table.duplicated().sum() == 240


def test_columns_may_come_in_any_order(table: pd.DataFrame, tmp_path: Path) -> None:
    table[table.columns[::-1]].to_csv(tmp_path / "turned.csv", index=False)
    pd.testing.assert_frame_equal(dataset.read(tmp_path / "turned.csv"), table)


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (1, "pH,", "", "column 'pH' is missing"),
        (1, "pH", "ph", "column 'pH' is missing; column 'ph' is unknown"),
        (1, "quality", "quality,year", "column 'year' is unknown"),
        (1, ",", ";", "is missing"),
        (2, "7.4", "abc", "line 2, column 'fixed acidity': 'abc' is not a number"),
        (2, "7.4", "", "line 2, column 'fixed acidity': the value is missing"),
        (3, "3.2", "33.2", "line 3, column 'pH': '33.2' is out of range, expected 1 to 7"),
        (3, "3.2", "nan", "line 3, column 'pH': 'nan' is not a number"),
        (3, "3.2", "inf", "line 3, column 'pH': 'inf' is out of range"),
        (3, "9.8,5", "9.8,9", "line 3, column 'quality': '9' is out of range, expected a class from 3 to 8"),
        (3, "9.8,5", "9.8,5.5", "line 3, column 'quality': '5.5' is out of range"),
        (4, "7.8", "7.8,1", "comma-separated UTF-8 table.*line 4"),
        (2, "7.4", "7.4,1", "line 2 has more fields"),
        (5, ",0.28", "", "line 5, column 'quality': the value is missing"),
    ],
)
def test_bad_input_is_named(data_csv: Path, tmp_path: Path, line: int, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset.read(changed(data_csv, tmp_path, line, old, new))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (",".join(dataset.COLUMNS).encode() + b"\n", "no rows"),
        (b"\xff\xfe\x00\x01\n", "not a comma-separated UTF-8 table"),
        (";".join(dataset.COLUMNS).encode() + b"\n1;2\n", "line 2, column 'citric acid': the value is missing"),
        (";".join(dataset.COLUMNS).encode() + b"\n1;2;3;4;5;6;7;8;9;10;11;12\n" + b"1;" * 12 + b"1\n", "line 3"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wine.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        dataset.read(path)


SPELLINGS = [
    pytest.param(lambda text: text, (), id="as it is kept"),
    pytest.param(lambda text: f"\ufeff{text}", ("a byte order mark",), id="byte order mark"),
    pytest.param(lambda text: text.replace("\n", "\r\n"), ("line ends of Windows",), id="CRLF"),
    pytest.param(
        lambda text: "\n".join(
            [";".join(f'"{name}"' for name in dataset.COLUMNS), *text.replace(",", ";").split("\n")[1:]]
        ),
        ("';' between the fields",),
        id="UCI's own file",
    ),
    pytest.param(
        lambda text: text.replace("fixed acidity", "fixed_acidity").replace(",pH", ", pH"),
        ("names: 'fixed_acidity', ' pH'",),
        id="other names",
    ),
    pytest.param(
        lambda text: "\n".join(",".join(reversed(line.split(","))) for line in text.splitlines()),
        ("another order of the columns",),
        id="reordered",
    ),
]


@pytest.mark.parametrize(("spell", "converted"), SPELLINGS)
def test_a_table_is_read_however_it_is_spelt_and_what_was_converted_is_said(
    table: pd.DataFrame, data_csv: Path, tmp_path: Path, spell: Callable[[str], str], converted: tuple[str, ...]
) -> None:
    path = tmp_path / "spelt.csv"
    path.write_bytes(spell(data_csv.read_text()).encode())
    reading = dataset.read_any(path)
    pd.testing.assert_frame_equal(reading.table, table)
    assert reading.converted == converted
    dataset.write(reading.table, tmp_path / "kept.csv")
    assert (tmp_path / "kept.csv").read_bytes() == data_csv.read_bytes()


def test_one_column_under_two_names_is_rejected(data_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'citric_acid' is unknown"):
        dataset.read(changed(data_csv, tmp_path, 1, "citric acid", "citric acid,citric_acid"))


@pytest.mark.parametrize(("old", "new"), [("7.8", '"7,8"'), ("25.0", '"1,025.0"')])
def test_a_comma_within_a_number_is_named_by_its_line(data_csv: Path, tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(DataError, match=f"line 3, column .*: '{new[1:-1]}' has a comma"):
        dataset.read(changed(data_csv, tmp_path, 3, old, new))


def test_many_faults_are_counted_and_the_first_are_shown(data_csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "wine.csv"
    path.write_text(data_csv.read_text().replace(",0.9", ",-0.9"))
    with pytest.raises(DataError, match=r"\d{3,} bad value\(s\):\n  line 2.*(\n.*){4}\n  and \d+ more"):
        dataset.read(path)


def test_every_class_is_on_both_sides(table: pd.DataFrame) -> None:
    train, test = dataset.split(table, SPLIT)
    assert len(train) + len(test) == len(table)
    assert set(train[TARGET]) == set(test[TARGET]) == set(CLASSES)
    assert len(test) / len(table) == pytest.approx(SPLIT.test_share, abs=0.03)


def test_copies_of_a_row_never_straddle_the_split(table: pd.DataFrame) -> None:
    train, test = dataset.split(table, SPLIT)
    seen = set(map(tuple, train[dataset.FEATURE_NAMES].to_numpy().tolist()))
    assert not seen & set(map(tuple, test[dataset.FEATURE_NAMES].to_numpy().tolist()))


def test_appended_rows_never_move_the_old_ones(table: pd.DataFrame) -> None:
    some = table.sample(frac=0.8, random_state=1)
    _, test_of_some = dataset.split(some, SPLIT)
    _, test_of_all = dataset.split(table, SPLIT)
    held_out = set(map(tuple, test_of_all.to_numpy().tolist()))
    assert set(map(tuple, test_of_some.to_numpy().tolist())) <= held_out


def split(wines: list[tuple[float, ...]], rule: SplitRule = SPLIT) -> list[bool]:
    """Say of each wine whether it is held out."""
    hashes = dataset.hash_rows(pd.DataFrame(wines, columns=dataset.COLUMNS), rule.salt)
    return (hashes < rule.test_share).tolist()


@QUICK
@given(WINES, st.text())
def test_each_wine_has_its_side_alone(wines: list[tuple[float, ...]], salt: str) -> None:
    """Neither rows before and after it, nor copies of it, nor what they were rated move it."""
    rule = SplitRule(salt, 0.5)
    first, others = split(wines[:1], rule), split(wines[1:], rule)
    rated = [(*wine[:-1], CLASSES[0]) for wine in wines]
    assert split([*wines, *reversed(rated)], rule) == [*first, *others, *reversed(others), *first]


@QUICK
@given(WINES, st.randoms())
def test_both_parts_hold_the_same_wines_in_any_order(wines: list[tuple[float, ...]], random: Random) -> None:
    rule = SplitRule(test_share=0.5)
    wines = [(*wine[:-1], rating) for wine in wines for rating in (5, 6)]
    assume(len(set(split(wines, rule))) == 2)
    mixed = random.sample(wines, len(wines))
    parts, of_mixed = (dataset.split(pd.DataFrame(rows, columns=dataset.COLUMNS), rule) for rows in (wines, mixed))
    for part, other in zip(parts, of_mixed, strict=True):
        assert sorted(part.to_numpy().tolist()) == sorted(other.to_numpy().tolist())
    train, test = (set(map(tuple, part[dataset.FEATURE_NAMES].to_numpy().tolist())) for part in parts)
    assert not train & test


def test_another_salt_gives_another_split(table: pd.DataFrame) -> None:
    assert not dataset.hash_rows(table, "a").equals(dataset.hash_rows(table, "b"))


def test_a_class_that_only_the_test_side_has_is_rejected(table: pd.DataFrame) -> None:
    _, test = dataset.split(table, SPLIT)
    lone = test[test[TARGET] == 8].head(1)
    with pytest.raises(DataError, match="quality 8 has rows in test and none in train"):
        dataset.split(pd.concat([table[table[TARGET] < 8], lone]), SPLIT)


def test_a_test_side_without_rows_is_rejected(table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="test holds 0 row"):
        dataset.split(table, SplitRule(test_share=0.0))


def test_equal_tables_give_equal_bytes(table: pd.DataFrame, data_csv: Path, tmp_path: Path) -> None:
    dataset.write(table, tmp_path / "one.csv")
    dataset.write(dataset.read(tmp_path / "one.csv"), tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
