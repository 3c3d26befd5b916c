"""The features of a wine: a slider through the training range, a field for any number, and where the value lies."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import streamlit as st
import wine
from pictures import draw_distribution
from words import say, say_term

COLUMNS = 2
FIELD = 88  # pixels of a number
SHOWN = "shown"  # in the session, by field: the value, and how often slider and number were made anew
VALUE, SLIDER, NUMBER = range(3)


def draw(features: list[wine.Feature], profile: Mapping[str, list[float]]) -> None:
    """Draw every feature; ``profile`` has the quantiles of each, or none."""
    half = -(-len(features) // COLUMNS)
    columns = [column.container(gap="xsmall") for column in st.columns(COLUMNS, gap="medium")]
    for number, feature in enumerate(features):
        with columns[number // half]:
            _draw_feature(feature, profile.get(feature["field"], []))


def show_distributions(features: list[wine.Feature], profile: Mapping[str, list[float]]) -> None:
    """Show above each slider how its training values lie: a style, and so nothing that a change draws anew."""
    rules = []
    for feature in features:
        if quantiles := profile.get(feature["field"]):
            picture = draw_distribution(quantiles, float(feature["minimum"]), float(feature["maximum"]))
            address = f"data:image/svg+xml,{quote(picture)}"
            rules.append(f'.st-key-feature_{feature["field"]} {{ --training: url("{address}") }}')
    if rules:
        st.html(f"<style>{''.join(rules)}</style>")


def _draw_feature(feature: wine.Feature, quantiles: list[float]) -> None:
    field, value = feature["field"], wine.current()[feature["field"]]
    slider, number = _keys(field, value)
    lowest, highest = float(feature["minimum"]), float(feature["maximum"])
    places, step = wine.decimals(feature), 10.0 ** -wine.decimals(feature)
    label = ", ".join(filter(None, (wine.name(feature), wine.unit(feature))))
    with st.container(key=f"feature_{field}", gap=None):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.slider(
                label,
                lowest,
                highest,
                min(max(value, lowest), highest),
                step=step,
                format=f"%.{places}f",
                key=slider,
                help=say_term("about", field) or None,
                on_change=_take,
                args=(field, slider, SLIDER),
            )
            st.number_input(
                label,
                value=value,
                step=step,
                format=f"%.{places}f",
                key=number,
                label_visibility="collapsed",
                width=FIELD,
                on_change=_take,
                args=(field, number, NUMBER),
            )
        _tell_place(feature, value, quantiles)


def _tell_place(feature: wine.Feature, value: float, quantiles: list[float]) -> None:
    lowest, highest = (wine.show_number(feature, feature[end]) for end in ("minimum", "maximum"))
    if not feature["lowest"] <= value <= feature["highest"]:
        st.markdown(say("impossible", lowest=f"{feature['lowest']:g}", highest=f"{feature['highest']:g}"))
    elif not feature["minimum"] <= value <= feature["maximum"]:
        st.markdown(say("unusual", lowest=lowest, highest=highest))
    else:
        place = wine.place(quantiles, value) if quantiles else ""
        st.caption(" · ".join(filter(None, (f"{lowest} – {highest}", place))))


def _keys(field: str, value: float) -> tuple[str, str]:
    """Return the keys of a feature's slider and number; one that something else has changed is a new widget."""
    shown = st.session_state.setdefault(SHOWN, {}).setdefault(field, [value, 0, 0])
    if shown[VALUE] != value:
        shown[:] = value, shown[SLIDER] + 1, shown[NUMBER] + 1
    return f"slider {field} {shown[SLIDER]}", f"number {field} {shown[NUMBER]}"


def _take(field: str, key: str, which: int) -> None:
    """Take what was entered; an emptied number is filled again with the value as it was.

    What the browser still says of a widget that was made anew was true before, and is no change.
    """
    value: Any = st.session_state[key]
    shown = st.session_state[SHOWN][field]
    if key not in _keys(field, shown[VALUE]):
        return
    if value is None:
        shown[which] += 1
    else:
        wine.current()[field] = shown[VALUE] = float(value)
        shown[SLIDER + NUMBER - which] += 1
