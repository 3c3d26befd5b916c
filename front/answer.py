"""The answer for a wine: its grade in words, the probability of each grade, why, and what would change it."""

from collections.abc import Mapping
from math import exp
from typing import Any

import pandas as pd
import streamlit as st
import wine
from api import ApiProblem, ask
from pictures import draw_probabilities, draw_reasons
from words import say, say_term

Answer = Mapping[str, Any]  # of POST /explain
SURE, NEARLY, MAYBE = 0.8, 0.8, 0.5  # a probability; shares of the highest that the second has
TOLD = 2  # reasons named in a sentence
SHOWN = 11  # reasons in a chart
CHANGES = 3
LARGE, LARGEST = 2.3, 300.0  # logarithms of factors: told without decimals, and as "many"


def explain(values: wine.Wine) -> Answer:
    """Return what the API says of a wine; raises as :func:`api.ask` does."""
    return ask("POST", "/explain", json=values)


def grade(answer: Answer, release: Mapping[str, Any]) -> int:
    """Return the predicted class."""
    return int(answer[f"predicted_{release['target'].replace(' ', '_')}"])


def show_grade(answers: Mapping[str, Answer], release: Mapping[str, Any]) -> None:
    """Show the grade of one wine, or of two side by side, and the probability of each grade."""
    columns = st.columns(len(answers))
    for column, (who, answer) in zip(columns, answers.items(), strict=True):
        with column.container(gap=None):
            st.caption(who)
            st.header(describe(answer, release), anchor=False)
    if len(answers) == 1:
        (answer,) = answers.values()
        if meaning := say_term("grade", str(grade(answer, release))):
            st.markdown(meaning)
    rows = pd.DataFrame(
        [
            {"class": int(label), "of": who, "p": p, "text": _percent(p)}
            for who, answer in answers.items()
            for label, p in answer["probabilities"].items()
        ]
    )
    told = "; ".join(
        f"{who}: " + ", ".join(f"{label}: {_percent(p)}" for label, p in answer["probabilities"].items())
        for who, answer in answers.items()
    )
    st.altair_chart(draw_probabilities(rows, list(answers), say("alt_probabilities", told=told)), width="stretch")


def describe(answer: Answer, release: Mapping[str, Any]) -> str:
    """Say which grade it is, and how surely: "5, nearly as likely 6"."""
    first = grade(answer, release)
    probabilities = {int(label): p for label, p in answer["probabilities"].items()}
    best, second = probabilities[first], rival(answer, release)
    if best >= SURE:
        return say("grade_sure", first=first)
    if probabilities[second] >= NEARLY * best:
        return say("grade_nearly", first=first, second=second)
    if probabilities[second] >= MAYBE * best:
        return say("grade_maybe", first=first, second=second)
    return say("grade_likely", first=first)


def rival(answer: Answer, release: Mapping[str, Any]) -> int:
    """Return the most probable of the other classes."""
    others = {int(label): p for label, p in answer["probabilities"].items() if int(label) != grade(answer, release)}
    return max(others, key=others.__getitem__)


def show_reasons(answer: Answer, release: Mapping[str, Any]) -> None:
    """Show what each feature adds for the predicted grade, and against the one that is next."""
    first, second = grade(answer, release), rival(answer, release)
    names = {feature["field"]: wine.name(feature) for feature in release["features"]}
    scores = {names[field]: added[str(first)] - added[str(second)] for field, added in answer["contributions"].items()}
    ordered = sorted(scores, key=lambda name: -abs(scores[name]))
    start = exp(answer["start"][str(first)] - answer["start"][str(second)])
    sentence = _tell_reasons(scores, ordered, first, second)
    st.header(say("why", first=first, second=second), anchor=False)
    st.markdown(sentence)
    rows = pd.DataFrame(
        [{"name": name, "score": scores[name], "text": _factor(scores[name])} for name in ordered[:SHOWN]]
    )
    sides = say("speaks_for", grade=second), say("speaks_for", grade=first)
    st.altair_chart(draw_reasons(rows, sides, say("alt_reasons", told=sentence)), width="stretch")
    method = "why_exact" if answer["method"] == "linear" else "why_rough"
    st.caption(
        say(method, first=first, second=second, start=f"{start:.2g}", all=f"{start * exp(sum(scores.values())):.2g}")
    )


def show_changes(answer: Answer, release: Mapping[str, Any]) -> None:
    """Show the least change of one feature that gives a higher grade, and let a person try it."""
    st.header(say("changes"), anchor=False)
    features = {feature["field"]: feature for feature in release["features"]}
    if grade(answer, release) == max(release["classes"]):
        st.markdown(say("changes_highest"))
    elif not answer["changes"]:
        st.markdown(say("changes_none"))
    else:
        st.markdown(say("changes_least"))
    for change in answer["changes"][:CHANGES]:
        feature = features[change["field"]]
        now, then = wine.show_number(feature, wine.current()[change["field"]]), f"{change['value']:g}"
        told = {"feature": wine.name(feature), "now": now, "then": then, "grade": grade(change, release)}
        is_more = change["value"] > wine.current()[change["field"]]
        st.button(
            say("change", **told),
            key=f"change {change['field']}",
            icon=":material/trending_up:" if is_more else ":material/trending_down:",
            help=say("change_try"),
            on_click=wine.current().update,
            args=({change["field"]: change["value"]},),
        )


def show_difference(release: Mapping[str, Any]) -> None:
    """Show in which features two wines differ."""
    second, rows = wine.beside() or {}, []
    for feature in release["features"]:
        mine, other = wine.current()[feature["field"]], second[feature["field"]]
        if mine != other:
            cells = [wine.show_number(feature, value) for value in (mine, other)]
            rows.append([wine.name(feature), *cells, wine.unit(feature)])
    st.header(say("difference"), anchor=False)
    if not rows:
        st.markdown(say("difference_none"))
        return
    columns = [say("feature"), say("this_wine"), say("other_wine"), say("unit")]
    st.table(pd.DataFrame(rows, columns=columns).set_index(columns[0]))


def log_it() -> None:
    """Let a wine be logged as a prediction, so that its truth can be told later by its id."""
    if st.button(say("log_it"), icon=":material/bookmark_add:", help=say("log_it_help")):
        try:
            st.session_state["logged"] = ask("POST", "/predict", json=wine.current())["id"], dict(wine.current())
        except ApiProblem as problem:
            st.error(str(problem))
    number, values = st.session_state.get("logged", (None, None))
    if number and values == wine.current():
        st.caption(say("logged"))
        st.code(number, language=None)


def _tell_reasons(scores: Mapping[str, float], ordered: list[str], first: int, second: int) -> str:
    for_it = ", ".join([name for name in ordered if scores[name] > 0][:TOLD])
    against = ", ".join([name for name in ordered if scores[name] < 0][:TOLD])
    if for_it and against:
        return say("why_both", first=first, second=second, reasons=for_it, against=against)
    if for_it:
        return say("why_for", first=first, second=second, reasons=for_it)
    return say("why_against", first=first, second=second, against=against) if against else say("why_mean")


def _factor(score: float) -> str:
    times = f"{exp(abs(score)):.2f}" if abs(score) < LARGE else f"{exp(min(abs(score), LARGEST)):.3g}"
    return f"× {times}" if score >= 0 else f"÷ {times}"


def _percent(p: float) -> str:
    return "< 1 %" if 0 < p < 0.005 else f"{p * 100:.0f} %"
