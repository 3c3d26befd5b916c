"""A CSV that a person drops on the page: read however it is spelt, its faults told by line and column."""

from pathlib import Path
from typing import Any

import many
import numpy as np
import pyarrow as pa
import pytest
import table_file

from src.core.wine import FEATURES, TARGET
from tests.support.wines import read_wines, to_csv

RELEASE: dict[str, Any] = {
    "target": TARGET,
    "features": [
        {"name": one.name, "field": one.field, "lowest": one.lowest, "highest": one.highest} for one in FEATURES
    ],
}
WINE = "7.4,0.7,0,1.9,0.076,11,34,0.9978,3.51,0.56,9.4"
HEADER = ",".join(feature.name for feature in FEATURES)


def read(text: str | bytes) -> table_file.TableFile:
    return table_file.read(text if isinstance(text, bytes) else text.encode(), RELEASE)


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text,
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", ";").replace(".", ","),
        lambda text: text.replace(" ", "_"),
        lambda text: text.replace("fixed acidity", '" Fixed acidity "'),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n") + "\n",
    ],
)
def test_every_spelling_gives_the_same_wines(spell: Any) -> None:
    file = read(spell(f"{HEADER}\n{WINE}\n{WINE}\n"))
    assert file.values.tolist() == [[float(value) for value in WINE.split(",")]] * 2
    assert file.wrong == 0 and file.faults.empty


def test_columns_may_stand_in_any_order_beside_others() -> None:
    names, values = HEADER.split(","), WINE.split(",")
    text = ",".join(["bottle", *reversed(names), TARGET]) + "\n" + ",".join(["Böttle 1", *reversed(values), "5"])
    file = read(text)
    assert file.values.tolist() == [[float(value) for value in values]]
    assert file.ignored == ["bottle"] and file.truth.tolist() == [5]


def test_wrong_rows_and_cells_are_named_and_the_others_are_read() -> None:
    wrong = WINE.replace("3.51", "-1").replace("9.4", "n/a")
    file = read("\n".join([HEADER, WINE, wrong, "1,2,3", "", WINE, WINE.replace("0.7", "")]))
    assert file.faults.to_numpy().tolist() == [
        [3, "alcohol", "n/a", "a number from 0 to 25"],
        [3, "pH", "-1", "a number from 1 to 7"],
        [4, "", "1,2,3", "11 cells, as the header has; this row has 3"],
        [7, "volatile acidity", "", "a number from 0 to 10"],
    ]
    assert file.lines[file.good].tolist() == [2, 6]
    assert file.wrong == file.rows - 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no rows"),
        (HEADER.encode() + b"\n", "no rows"),
        (b"\xff\xfea\x00", "not a UTF-8 text"),
        (b"pH,alcohol\n3,9", "lacks columns: fixed acidity"),
        (f"{HEADER},PH\n{WINE},3\n".encode(), "twice: ph"),
    ],
)
def test_what_is_no_table_is_told_in_a_sentence(content: bytes, words: str) -> None:
    with pytest.raises(table_file.FileProblem, match=words):
        read(content)


def test_predictions_are_written_behind_their_own_rows(data_csv: Path) -> None:
    wines = read_wines(data_csv, 4)
    lines = to_csv(wines).decode().splitlines()
    lines[2] = lines[2].replace(lines[2].split(",")[-1], "99")
    answer = pa.table({"probability_3": np.array([0.1, 0.2, 0.3]), "predicted_quality": [3, 4, 5]})
    written = many.write(read("\n".join(lines)), answer).decode().splitlines()
    assert [line.rpartition(",")[2] for line in written] == ['"predicted_quality"', "3", "", "4", "5"]
