"""The features of a wine: a slider through what training saw, a field for any number, and where the value lies."""

from collections.abc import Mapping
from typing import Any

import streamlit as st
import wine
from pictures import draw_distribution
from words import say, say_term

COLUMNS = 2
FIELD = 88  # pixels of a number


def draw(features: list[wine.Feature], profile: Mapping[str, list[float]]) -> None:
    """Draw every feature; ``profile`` has the quantiles of each, or none."""
    half = -(-len(features) // COLUMNS)
    columns = [column.container(gap="xsmall") for column in st.columns(COLUMNS, gap="medium")]
    for number, feature in enumerate(features):
        with columns[number // half]:
            _draw_feature(feature, profile.get(feature["field"], []))


def _draw_feature(feature: wine.Feature, quantiles: list[float]) -> None:
    field, value = feature["field"], wine.current()[feature["field"]]
    slider, number = f"slider {field}", f"number {field}"
    lowest, highest = float(feature["minimum"]), float(feature["maximum"])
    st.session_state[slider] = min(max(value, lowest), highest)
    st.session_state[number] = value
    places, step = wine.decimals(feature), 10.0 ** -wine.decimals(feature)
    label = ", ".join(filter(None, (wine.name(feature), wine.unit(feature))))
    with st.container(key=f"feature_{field}", gap=None):
        st.markdown(label, help=say_term("about", field) or None)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(gap=None):
                if quantiles:
                    picture = draw_distribution(quantiles, lowest, highest)
                    st.image(picture, width="stretch", alt=say("distribution", feature=wine.name(feature)))
                st.slider(
                    label,
                    lowest,
                    highest,
                    step=step,
                    format=f"%.{places}f",
                    key=slider,
                    label_visibility="collapsed",
                    on_change=_take,
                    args=(field, slider),
                )
            st.number_input(
                label,
                step=step,
                format=f"%.{places}f",
                key=number,
                label_visibility="collapsed",
                width=FIELD,
                on_change=_take,
                args=(field, number),
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


def _take(field: str, key: str) -> None:
    """Take what was entered; an emptied field leaves the value as it was."""
    value: Any = st.session_state[key]
    if value is not None:
        wine.current()[field] = float(value)
