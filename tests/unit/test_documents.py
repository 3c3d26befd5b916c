"""The documents agree: short, no dead link, and the Russian one names no other command."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from local import reference
from src.config import DATA_POINTER, PROJECT
from tests.support.documents import blocks, shows

DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("kubernetes/*.md")])

TABLES = (reference.list_endpoints, reference.list_metrics, reference.list_targets)


@pytest.mark.parametrize(("name", "most"), [("README.md", 200), ("docs/another-table.md", 39)])
def test_it_is_short(name: str, most: int) -> None:
    assert len((PROJECT / name).read_text().splitlines()) <= most


def test_the_russian_readme_has_commands_of_the_english_one_alone() -> None:
    english, russian = (blocks(name, "sh") for name in ("README.md", "README.ru.md"))
    assert len(russian) >= 5
    assert set(russian) <= set(english)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(PROJECT)))
def test_no_link_is_dead(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / unquote(link)).exists()] == []


SHOWN = """[  22 s] Airflow: ready on http://127.0.0.1:8080
           … five tasks …
Release    f937ab93903c  (Accuracy 0.613, …)
"""
PRINTED = """[ 9 s] Airflow: ready on http://127.0.0.1:8080
[ 9 s] train_model success
Release ba1c75817af9 (Accuracy 0.6,
ROC_AUC 0.8)
"""


@pytest.mark.parametrize(
    ("printed", "same_figures", "is_shown"),
    [
        (SHOWN.replace("… five tasks …", "train_model"), True, True),
        (PRINTED, False, True),
        (PRINTED, True, False),
        (PRINTED.replace("ready", "starting"), False, False),
        (PRINTED.partition("Release")[0], False, False),
    ],
)
def test_a_block_stands_for_what_was_printed(printed: str, same_figures: bool, is_shown: bool) -> None:
    assert shows(SHOWN, printed, same_figures) is is_shown


def test_the_map_of_the_code_names_what_is_there() -> None:
    (tree,) = blocks("docs/architecture.md", "text")
    names = re.findall(r"[\w-]+(?=/)|[\w-]+\.(?:py|yaml|dvc|toml|txt)\b", tree)
    there = {
        part
        for path in [PROJECT, *PROJECT.glob("[!.]*/**/")]
        for part in [path.name, *(one.name for one in path.iterdir())]
    }
    assert len(names) > 40
    assert set(names) <= there | {DATA_POINTER.stem}, "a checkout without the data lacks their folder"


def test_the_reference_is_made_from_the_code() -> None:
    assert reference.DOCS.read_text() == reference.render(), "run: make env-example"
    routes, metrics, targets = (list(rows()) for rows in TABLES)
    assert ("Predict", "`POST /predict`", "Predict the quality of one wine.") in routes
    assert ("`wine_release_info{release}`", "gauge", "1 for the release that is serving") in metrics
    assert ("`make up`", "Start the whole stack on 127.0.0.1 and serve the first release") in targets
