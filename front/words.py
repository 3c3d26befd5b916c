"""Every word that the page shows, in each language: ``words.toml`` holds them, :func:`say` finds them."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

LANGUAGES = {"en": "English", "ru": "Русский"}  # the first is shown first
CATALOGUE = Path(__file__).with_name("words.toml")
STATE = "language"  # in the session; in the address it is "lang"
TABLE = "wine"  # what one row of the catalogue's own table is called
OTHER = "other"  # what a text says where the table is not the catalogue's own


def language() -> str:
    """Return the code of the language that this session reads."""
    return str(st.session_state.get(STATE, next(iter(LANGUAGES))))


def choose_language() -> None:
    """Draw the switch; the address, where it names a language, decides once."""
    if STATE not in st.session_state:
        asked = st.query_params.get("lang", "")
        st.session_state[STATE] = asked if asked in LANGUAGES else next(iter(LANGUAGES))
    chosen = st.segmented_control(
        say("language"),
        list(LANGUAGES),
        default=language(),
        format_func=LANGUAGES.__getitem__,
        label_visibility="collapsed",
        key="language_switch",
        required=True,
    )
    if chosen and chosen != language():
        st.session_state[STATE] = chosen
        st.rerun()


def say(key: str, **values: Any) -> str:
    """Return a text in the session's language, with ``values`` in its braces."""
    entry = catalogue()[key]
    if OTHER in entry and not is_own_table():
        entry = entry[OTHER]
    return str(entry[language()]).format(**values)


def say_term(kind: str, name: str, otherwise: str = "") -> str:
    """Return what the catalogue calls something of its own table, as the feature "pH"; else what the API calls it."""
    key = f"{kind}_{name}"
    return say(key) if is_own_table() and key in catalogue() else otherwise


def is_own_table() -> bool:
    """Say whether the API is about the table that the catalogue has words for."""
    return str(st.session_state.get("table", TABLE)) == TABLE


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """Return every entry by its key."""
    return tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
