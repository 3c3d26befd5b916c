"""Predict: one wine, its grade, why, and what would change it."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import answer
import inputs
import streamlit as st
import wine
from api import ApiProblem, ask, read_release, show_problem
from words import say, say_term

DRAWN = "drawn"  # in the session: when a change was drawn
EXAMPLES = {
    "median": ":material/adjust:",
    "best": ":material/star:",
    "poor": ":material/thumb_down:",
    "random": ":material/casino:",
}


def show() -> None:
    """Draw the view."""
    try:
        release = read_release()
    except ApiProblem as problem:
        st.title(say("nav_predict"))
        show_problem(problem)
        return
    wine.begin(release)
    profile = _read_quantiles(release["id"])
    inputs.show_distributions(release["features"], profile)
    _draw(release, profile)
    st.session_state.pop(DRAWN, None)  # where the whole page is drawn, nothing of before stays


@st.fragment
def _draw(release: Mapping[str, Any], profile: Mapping[str, list[float]]) -> None:
    """Draw inputs and answer; a change draws no more than this."""
    wine.link()
    _draw_head(release["features"])
    left, right = st.columns([2.15, 1], gap="large")
    lower = st.container()
    with right.container(key="answer"):  # first, as it is what a person waits for
        found = _draw_answer(release)
    with left:
        inputs.draw(release["features"], profile)
    if found:
        with lower:
            _draw_more(found, release)
    st.session_state[DRAWN] = time.monotonic()


def _draw_head(features: list[wine.Feature]) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.title(say("predict_title"), anchor=False, width="stretch")
        for name, icon in EXAMPLES.items():
            change = partial(wine.reset, features) if name == "median" else partial(wine.take_example, name)
            st.button(say(f"example_{name}"), icon=icon, help=say(f"example_{name}_help"), on_click=change)
    if notice := st.session_state.pop(wine.NOTICE, None):
        st.warning(notice)


def _draw_answer(release: Mapping[str, Any]) -> answer.Answer | None:
    """Draw the answer; returns it, or None where there is none."""
    if impossible := wine.list_impossible(release["features"]):
        names = ", ".join(map(wine.name, impossible))
        st.warning(say("not_predicted", names=names), icon=":material/block:")
        return None
    try:
        found = answer.explain(wine.current())
        answers = {say("this_wine" if wine.beside() else "predicted"): found}
        if second := wine.beside():
            answers[say("other_wine")] = answer.explain(second)
        answer.show_grade(answers, release)
    except ApiProblem as problem:
        show_problem(problem)
        return None
    if (source := wine.source()) and source["truth"] is not None:
        st.caption(say("truth", grade=source["truth"], row=source["row"]))
    _draw_actions(release)
    return found


def _draw_actions(release: Mapping[str, Any]) -> None:
    with st.container(horizontal=True, gap="small"):
        if wine.beside():
            st.button(say("swap"), icon=":material/swap_horiz:", on_click=wine.swap)
            st.button(say("remove"), icon=":material/close:", on_click=wine.remove)
        else:
            st.button(
                say("put_beside"),
                icon=":material/splitscreen_right:",
                on_click=wine.put_beside,
                help=say("put_beside_help"),
            )
        with st.popover(say("grades"), icon=":material/help:"):
            _draw_grades(release["classes"])


def _draw_more(found: answer.Answer, release: Mapping[str, Any]) -> None:
    st.divider()
    left, right = st.columns([1.5, 1], gap="large")
    with left:
        answer.show_reasons(found, release)
    with right:
        answer.show_changes(found, release)
        if wine.beside():
            answer.show_difference(release)
        answer.log_it()


def _draw_grades(classes: list[int]) -> None:
    st.markdown(say("grades_source"))
    for label in classes:
        st.markdown(" ".join(filter(None, (f"**{label}**", say_term("grade", str(label))))))


def _read_quantiles(release: str) -> Mapping[str, list[float]]:
    """Return the quantiles of each feature; none where the release has no profile, or the API is unreachable."""
    try:
        return _ask_for_quantiles(release)
    except ApiProblem:
        return {}


@st.cache_data(max_entries=4, show_spinner=False)
def _ask_for_quantiles(release: str) -> dict[str, list[float]]:
    """Return the quantiles of the release that serves, which is ``release``; raises as :func:`api.ask` does."""
    return {one["field"]: one["quantiles"] for one in ask("GET", "/profile")["features"]}
