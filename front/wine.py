"""The wine that a person describes: it stays in the session, and the address is a link to it."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from math import isfinite
from typing import Any

import streamlit as st
from api import ApiProblem, ask
from words import language, say, say_term

Wine = dict[str, float]  # by the fields of the API
Feature = Mapping[str, Any]  # as /release describes it
STATE = "wine"
BESIDE = "beside"  # the second wine, in the session and in the address
SOURCE = "source"  # where the wine came from, while it is as it came
NOTICE = "notice"  # what could not be done, told once


def begin(release: Mapping[str, Any]) -> None:
    """Take the wine from the address where this session has none; what that lacks or spells wrong is the median."""
    features = release["features"]
    if not set(medians(features)) == set(st.session_state.get(STATE, ())):
        st.session_state[STATE] = medians(features) | _read(features, dict(st.query_params))
        beside = dict(zip(medians(features), st.query_params.get(BESIDE, "").split(","), strict=False))
        found = _read(features, beside)
        st.session_state[BESIDE] = found if len(found) == len(features) else None


def current() -> Wine:
    """Return the wine, to be changed in place."""
    wine: Wine = st.session_state[STATE]
    return wine


def beside() -> Wine | None:
    """Return the second wine, where there is one."""
    wine: Wine | None = st.session_state.get(BESIDE)
    return wine


def medians(features: list[Feature]) -> Wine:
    """Return the wine in the middle of each feature."""
    return {feature["field"]: float(feature["median"]) for feature in features}


def link() -> None:
    """Let the address be a link to what is shown."""
    parameters = {field: f"{value:.9g}" for field, value in current().items()}
    if second := beside():
        parameters[BESIDE] = ",".join(f"{value:.9g}" for value in second.values())
    if language() != "en":
        parameters["lang"] = language()
    if st.query_params.to_dict() != parameters:
        st.query_params.from_dict(parameters)


def reset(features: list[Feature]) -> None:
    """Begin anew."""
    st.session_state.update({STATE: medians(features), BESIDE: None, SOURCE: None})


def put_beside() -> None:
    """Keep the wine as it is, so that another is set beside it."""
    st.session_state[BESIDE] = dict(current())


def swap() -> None:
    """Let the two wines change places."""
    if second := beside():
        st.session_state.update({STATE: second, BESIDE: dict(current()), SOURCE: None})


def remove() -> None:
    """Forget the second wine."""
    st.session_state[BESIDE] = None


def take_example(name: str) -> None:
    """Take one of the API's examples, or tell why there is none."""
    try:
        found = {one["name"]: one for one in ask("GET", "/examples")["examples"]}[name]
    except ApiProblem as problem:
        st.session_state[NOTICE] = str(problem)
        return
    st.session_state.update({STATE: dict(found["features"]), SOURCE: found})


def source() -> dict[str, Any] | None:
    """Return the example that the wine is; None where it is none, or was changed since."""
    found: dict[str, Any] | None = st.session_state.get(SOURCE)
    return found if found and found["features"] == current() else None


def list_impossible(features: list[Feature]) -> list[Feature]:
    """Return the features whose values the table cannot hold."""
    return [one for one in features if not one["lowest"] <= current()[one["field"]] <= one["highest"]]


def name(feature: Feature) -> str:
    """Return a feature's name in the session's language."""
    return say_term("feature", feature["field"], feature["name"])


def unit(feature: Feature) -> str:
    """Return a feature's unit in the session's language; empty where it has none."""
    return say_term("unit", feature["field"], feature["unit"])


def decimals(feature: Feature) -> int:
    """Return how many decimals a feature needs: more where its training range is narrow."""
    width = feature["maximum"] - feature["minimum"]
    return 4 if width < 0.1 else 3 if width < 1 else 2 if width < 5 else 1


def show_number(feature: Feature, value: float) -> str:
    """Return a value with the decimals that it needs, and no more."""
    text = f"{value:.{decimals(feature)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def place(quantiles: list[float], value: float) -> str:
    """Say where a value lies among the training wines."""
    below = (bisect_left(quantiles, value) + bisect_right(quantiles, value)) / 2 / len(quantiles)
    return say("place", share=f"{below:.0%}")


def _read(features: list[Feature], texts: Mapping[str, str]) -> Wine:
    found = {}
    for feature in features:
        try:
            value = float(texts.get(feature["field"], ""))
        except ValueError:
            continue
        if isfinite(value):
            found[feature["field"]] = value
    return found
