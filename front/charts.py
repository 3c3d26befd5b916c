"""The charts of model, experiments, monitoring and service: still ones, each with a text for who does not see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

OURS, THEIRS = "#c2456a", "#7a869a"  # legible on light and on dark
SCHEME = [OURS, THEIRS, "#3d8fb5", "#c98a2b", "#5b9a5f"]
CELL = 34  # pixels of a confusion's row
BAR = 22  # pixels of a bar that lies


def show_chart(chart: Any, about: str) -> None:
    """Show a chart, and under it what it shows, which is read aloud in its place, too."""
    st.altair_chart(chart.properties(description=about), width="stretch")
    st.caption(about)


def draw_confusion(counts: Sequence[Sequence[int]], classes: Sequence[int], true: str, predicted: str) -> Any:
    """Return a cell for each true class (down) and predicted class (across); the darker, the more of its row."""
    cells = [
        {"true": str(label), "predicted": str(other), "rows": count, "share": count / max(sum(row), 1)}
        for label, row in zip(classes, counts, strict=True)
        for other, count in zip(classes, row, strict=True)
    ]
    order = [str(label) for label in classes]
    base = alt.Chart(pd.DataFrame(cells)).encode(
        x=alt.X("predicted:N", title=predicted, sort=order, axis=alt.Axis(labelAngle=0, orient="top", ticks=False)),
        y=alt.Y("true:N", title=true, sort=order, axis=alt.Axis(ticks=False)),
    )
    shade = alt.Color("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=["#7a869a22", OURS]))
    boxes = base.mark_rect(cornerRadius=3, stroke="transparent", strokeWidth=2).encode(color=shade)
    ink = alt.condition("datum.share > 0.45", alt.value("white"), alt.value(_ink()))
    texts = base.mark_text(fontSize=14).encode(text="rows:Q", color=ink)
    return (boxes + texts).properties(height=CELL * len(classes) + 40)


def draw_calibration(bins: Sequence[Mapping[str, float]], sure: str, right: str) -> Any:
    """Return how often the model is right (up) where it is so sure (across), and the line of one that knows itself."""
    low = min(min(one["confidence"], one["accuracy"]) for one in bins) // 0.1 / 10
    scale = alt.Scale(domain=[low, 1])
    ends = alt.Chart(pd.DataFrame({"confidence": [low, 1.0], "accuracy": [low, 1.0]}))
    chart = alt.Chart(pd.DataFrame(bins)).encode(
        x=alt.X("confidence:Q", title=sure, scale=scale, axis=alt.Axis(format="%", grid=False)),
        y=alt.Y("accuracy:Q", title=right, scale=scale, axis=alt.Axis(format="%")),
    )
    line = ends.mark_line(color=THEIRS, strokeDash=[4, 4]).encode(
        x=alt.X("confidence:Q", scale=scale), y=alt.Y("accuracy:Q", scale=scale)
    )
    return (line + chart.mark_line(color=OURS) + chart.mark_point(color=OURS, filled=True, size=60)).properties(
        height=300
    )


def draw_metrics(rows: Sequence[Mapping[str, Any]], when: str) -> Any:
    """Return each metric (of columns "metric", "value", "release", "time") over the promotions."""
    table = pd.DataFrame(rows)
    base = alt.Chart(table).encode(
        x=alt.X("time:T", title=when, scale=alt.Scale(type="utc"), axis=alt.Axis(grid=False, tickCount=6)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "metric:N",
            scale=alt.Scale(domain=list(dict.fromkeys(table["metric"])), range=SCHEME),
            legend=alt.Legend(title=None, orient="top"),
        ),
    )
    return (base.mark_line() + base.mark_point(filled=True, size=60)).properties(height=260)


def draw_trials(rows: Sequence[Mapping[str, Any]], across: str, up: str) -> Any:
    """Return a point a trial, of columns "task", "model", "x" and "y"."""
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_point(filled=True, size=70, opacity=0.8)
        .encode(
            x=alt.X("x:Q", title=across, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
            y=alt.Y("y:Q", title=up, scale=alt.Scale(zero=False)),
            color=alt.Color("model:N", scale=alt.Scale(range=SCHEME), legend=alt.Legend(title=None, orient="top")),
            tooltip=[alt.Tooltip(f"{name}:N", title=" ") for name in ("task", "model", "parameters")],
        )
        .properties(height=320)
    )


def draw_distances(rows: Sequence[Mapping[str, Any]], across: str, colours: tuple[str, str]) -> Any:
    """Return how far each feature is ("name", "distance") and between which ends ("low", "high"), the farthest first.

    ``colours`` are the names of the two values of "drifted".
    """
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False)),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        x=alt.X("distance:Q", title=across),
        color=alt.Color(
            "drifted:N",
            scale=alt.Scale(domain=list(colours), range=[OURS, THEIRS]),
            legend=alt.Legend(title=None, orient="top"),
        ),
    )
    ends = base.mark_rule(color=_ink(), strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    return (bars + ends).properties(height=(BAR + 4) * len(rows) + 60)


def draw_classes(rows: Sequence[Mapping[str, Any]], names: Sequence[str], across: str, up: str) -> Any:
    """Return two bars a class, of columns "class", "of" (one of ``names``) and "share"."""
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X("class:N", title=across, sort=None, axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("of:N", sort=list(names)),
            y=alt.Y("share:Q", title=up, axis=alt.Axis(format="%")),
            color=alt.Color(
                "of:N",
                scale=alt.Scale(domain=list(names), range=[THEIRS, OURS]),
                legend=alt.Legend(title=None, orient="top"),
            ),
        )
        .properties(height=240)
    )


def draw_counts(rows: Sequence[Mapping[str, Any]], across: str, up: str) -> Any:
    """Return a bar a class, of columns "class" and "rows"."""
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("class:N", title=across, sort=None, axis=alt.Axis(labelAngle=0)), y=alt.Y("rows:Q", title=up)
    )
    texts = base.mark_text(dy=-8, color=_ink(), fontSize=13).encode(text="rows:Q")
    return (base.mark_bar(cornerRadiusEnd=3, color=OURS) + texts).properties(height=240)


def draw_days(rows: Sequence[Mapping[str, Any]], names: Sequence[str], up: str) -> Any:
    """Return the figures of days, of columns "date", "of" (one of ``names``), "value", "low" and "high"."""
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("date:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, labelLimit=90)),
        xOffset=alt.XOffset("of:N", sort=list(names)),
        color=alt.Color(
            "of:N", scale=alt.Scale(domain=list(names), range=SCHEME), legend=alt.Legend(title=None, orient="top")
        ),
    )
    ends = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=up, scale=alt.Scale(zero=False)), y2="high:Q")
    return (ends + base.mark_point(filled=True, size=60, opacity=1).encode(y="value:Q")).properties(height=260)


def draw_rates(rows: Sequence[Mapping[str, Any]], names: Sequence[str], up: str) -> Any:
    """Return rates over time, of columns "time", "of" (one of ``names``) and "rate"."""
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(interpolate="monotone")
        .encode(
            x=alt.X("utchoursminutes(time):T", title="UTC", axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y("rate:Q", title=up),
            color=alt.Color(
                "of:N", scale=alt.Scale(domain=list(names), range=SCHEME), legend=alt.Legend(title=None, orient="top")
            ),
        )
        .properties(height=240)
    )


def _ink() -> str:
    """Return the colour of text in the theme that the browser shows."""
    return "#e6e8ee" if st.context.theme.type == "dark" else "#31333f"
