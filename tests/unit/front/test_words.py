"""The catalogue of the page's words: whole in each language, all of it used, and nothing said past it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
import words

from src.config import PROJECT

FILES = sorted((PROJECT / "front").glob("*.py"))
SPOKEN = re.compile(r"[^\W\d_]+ [^\W\d_]+|\b[A-Z][a-z]|[а-яёА-ЯЁ]")
OWN = {"api.py": "its strings are HTTP's", "words.py": "it has the languages' own names"}


def texts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each entry's texts: of its own table, and of others."""
    for key, entry in words.catalogue().items():
        yield key, {name: text for name, text in entry.items() if name != words.OTHER}
        if words.OTHER in entry:
            yield f"{key}.{words.OTHER}", entry[words.OTHER]


def constants(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every string of a module with its line, but for docstrings."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.lineno, node.value


def asked_keys() -> Iterator[str]:
    """Yield what is asked of the catalogue, as patterns."""
    for file in FILES:
        tree = ast.parse(file.read_text())
        for _, text in constants(tree):
            yield re.escape(text)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id == "say" and isinstance(node.args[0], ast.JoinedStr):
                parts = node.args[0].values
                yield "".join(
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"\w+" for part in parts
                )
            elif node.func.id == "say_term" and isinstance(node.args[0], ast.Constant):
                yield rf"{node.args[0].value!s}_\w+"


def test_each_text_is_there_in_each_language_with_the_same_values() -> None:
    for key, entry in texts():
        assert list(entry) == list(words.LANGUAGES), key
        assert all(entry.values()), key
        values = [sorted({name for _, name, *_ in Formatter().parse(text) if name}) for text in entry.values()]
        assert values[0] == values[1], key
        assert re.search("[а-яё]", entry["ru"]) or entry["en"] == entry["ru"], f"{key} is not translated"


def test_no_text_is_unused_and_none_is_missing() -> None:
    patterns = set(asked_keys())
    assert [key for key in words.catalogue() if not any(re.fullmatch(pattern, key) for pattern in patterns)] == []
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                key = node.args[0]
                assert not isinstance(key, ast.Constant) or key.value in words.catalogue(), (file.name, node.lineno)


def test_no_module_has_a_text_of_its_own() -> None:
    assert OWN.keys() <= {file.name for file in FILES}
    for file in FILES:
        if file.name not in OWN:
            for line, text in constants(ast.parse(file.read_text())):
                assert text.startswith("<") or not SPOKEN.search(text), f"{file.name}:{line}: {text!r}"


def test_what_the_catalogue_says_of_its_own_table_is_not_said_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert words.say("nav_many") == "Many wines"
    assert words.say_term("feature", "pH", "acidity") == "pH"
    monkeypatch.setattr(words, "is_own_table", lambda: False)
    assert words.say("nav_many") == "Many rows"
    assert words.say_term("feature", "pH", "acidity") == "acidity"
    for key in words.catalogue():
        if not re.match("feature_|unit_|about_|grade_[0-9]", key):
            text = words.catalogue()[key].get(words.OTHER, words.catalogue()[key])
            assert not re.search(
                r"\bwines?\b|\bвин[аоу]?\b|tasters|grade\b", "".join(text.values()).replace("{grade}", "")
            )


def test_the_catalogue_is_beside_its_module() -> None:
    assert words.CATALOGUE == Path(words.__file__).with_name("words.toml")
