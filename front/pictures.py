"""Charts: still ones, as nothing is learnt by zooming into six bars, each with a text for who does not see it."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

OURS, THEIRS, REST = "#c2456a", "#7a869a", "#d9a5b4"  # legible on light and on dark
BARS = 40  # of a distribution
HIGH = 22  # pixels of one
GAP = "\u2003" * 6
LINE = 26  # pixels of a bar that lies


def draw_distribution(quantiles: Sequence[float], lowest: float, highest: float) -> str:
    """Return an SVG of how a feature's training values lie, as wide as the slider below it."""
    width = (highest - lowest) / BARS or 1.0
    counts = [0] * BARS
    for value in quantiles:
        counts[min(max(int((value - lowest) / width), 0), BARS - 1)] += 1
    most = max(counts)
    bars = "".join(
        f'<rect x="{5 * place}" y="{HIGH - height:.1f}" width="4" height="{height:.1f}"/>'
        for place, count in enumerate(counts)
        if (height := HIGH * count / most)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {5 * BARS} {HIGH}" preserveAspectRatio="none"'
    return f'{head} width="{5 * BARS}" height="{HIGH}" fill="{THEIRS}" fill-opacity="0.55">{bars}</svg>'


def draw_probabilities(rows: pd.DataFrame, names: Sequence[str], about: str) -> alt.LayerChart:
    """Return a bar a class, on a scale from 0 to 1, of columns "class", "of" (one of ``names``) and "p"."""
    shade = alt.Color("of:N", scale=alt.Scale(domain=list(names), range=[OURS, THEIRS]), legend=None)
    base = alt.Chart(rows).encode(
        y=alt.Y("class:O", title=None, sort="descending", axis=alt.Axis(ticks=False, domain=False, labelFontSize=14)),
        x=alt.X("p:Q", title=None, scale=alt.Scale(domain=[0, 1.18]), axis=None),
        tooltip=[alt.Tooltip("of:N", title=" "), alt.Tooltip("class:O", title=" "), alt.Tooltip("text:N", title=" ")],
    )
    if len(names) > 1:
        base = base.encode(yOffset=alt.YOffset("of:N", sort=list(names)))
    bars = base.mark_bar(cornerRadiusEnd=3, height={"band": 0.82}).encode(color=shade)
    texts = base.mark_text(align="left", dx=5, fontSize=13, color=THEIRS).encode(text="text:N")
    height = LINE * rows["class"].nunique() * (1 if len(names) == 1 else 1.4)
    chart: alt.LayerChart = (bars + texts).properties(description=about, height=height)
    return chart


def draw_reasons(rows: pd.DataFrame, sides: tuple[str, str], about: str) -> alt.LayerChart:
    """Return a bar a feature, to the left or to the right, of columns "name", "score" and "text", the longest first."""
    most = max(float(rows["score"].abs().max()), 0.1) * 1.25
    base = alt.Chart(rows).encode(
        y=alt.Y(
            "name:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=190, labelFontSize=13)
        ),
        x=alt.X(
            "score:Q",
            title=f"←  {sides[0]}{GAP}{sides[1]}  →",
            scale=alt.Scale(domain=[-most, most]),
            axis=alt.Axis(labels=False, ticks=False, grid=False, domain=False, titleFontSize=13),
        ),
        tooltip=[alt.Tooltip("name:N", title=" "), alt.Tooltip("text:N", title=" ")],
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        color=alt.condition("datum.score > 0", alt.value(OURS), alt.value(THEIRS))
    )
    right = base.transform_filter("datum.score > 0").mark_text(align="left", dx=4, color=THEIRS).encode(text="text:N")
    left = base.transform_filter("datum.score <= 0").mark_text(align="right", dx=-4, color=THEIRS).encode(text="text:N")
    line = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color=THEIRS, opacity=0.6).encode(x="x:Q")
    chart: alt.LayerChart = (bars + right + left + line).properties(description=about, height=LINE * len(rows) + 30)
    return chart


def draw_classes(rows: pd.DataFrame, names: Sequence[str], about: str) -> alt.LayerChart:
    """Return two bars a class beside each other, of columns "class", "of" (one of ``names``), "share" and "text"."""
    base = alt.Chart(rows).encode(
        x=alt.X("class:O", title=None, axis=alt.Axis(labelAngle=0, ticks=False, labelFontSize=14)),
        xOffset=alt.XOffset("of:N", sort=list(names)),
        y=alt.Y("share:Q", title=None, axis=alt.Axis(format="%", tickCount=5, domain=False)),
        tooltip=[alt.Tooltip("of:N", title=" "), alt.Tooltip("class:O", title=" "), alt.Tooltip("text:N", title=" ")],
    )
    shade = alt.Color(
        "of:N",
        scale=alt.Scale(domain=list(names), range=[OURS, THEIRS]),
        legend=alt.Legend(title=None, orient="top", labelLimit=400),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(color=shade)
    texts = base.mark_text(baseline="bottom", dy=-3, color=THEIRS).encode(text="text:N")
    chart: alt.LayerChart = (bars + texts).properties(description=about, height=280)
    return chart
