"""What the views share: times, figures and names for people, and a part of the page that keeps itself up to date."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import streamlit as st
from api import ApiProblem, ask
from words import catalogue, say, say_term

NOTHING = "–"
NOT_THERE = 404


def keep_fresh(draw: Callable[[], None], seconds: float) -> None:
    """Draw a part of the page now and every so many seconds; where the API gives no answer, say so until it does."""

    @st.fragment(run_every=seconds)
    def part() -> None:
        attempt(draw)

    part()


def attempt(draw: Callable[..., None], *arguments: Any) -> None:
    """Draw a part of the page; where the API gives no answer, say so in its place."""
    try:
        draw(*arguments)
    except ApiProblem as problem:
        st.error(str(problem), icon=":material/cloud_off:")


def ask_if_any(path: str, **parameters: Any) -> dict[str, Any] | None:
    """Return what the API tells, None where it has nothing to tell yet.

    Raises:
        ApiProblem: it cannot say.

    """
    try:
        return ask("GET", path, params=parameters)
    except ApiProblem as problem:
        if problem.status == NOT_THERE:
            return None
        raise


def show_nothing(key: str) -> None:
    """Say that there is nothing to show yet, and what makes it appear."""
    st.info(say(key), icon=":material/hourglass_empty:")


def spell_time(text: str) -> str:
    """Return a time for people, as the clock in Greenwich shows it."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def spell_share(share: float) -> str:
    """Return a share in percent."""
    return f"{share:.0%}" if share in (0, 1) or 0.1 <= share < 0.995 else f"{share:.1%}"


def name_metric(name: str) -> str:
    """Return what people call a metric."""
    return say(f"metric_{name}") if f"metric_{name}" in catalogue() else name


def explain_metric(name: str) -> str | None:
    """Return what a metric tells; None where the page does not know it."""
    return say(f"metric_{name}_help") if f"metric_{name}_help" in catalogue() else None


def name_target(release: Mapping[str, Any]) -> str:
    """Return what is predicted, for people."""
    return say_term("target", release["target"].replace(" ", "_"), release["target"])


def name_feature(name: str) -> str:
    """Return what people call a feature that the API spells as the table does, or as a field."""
    return say_term("feature", name.replace(" ", "_"), name.replace("_", " "))


def show_table(rows: Sequence[Mapping[str, Any]], **columns: Any) -> None:
    """Show rows as a still table, all of them; ``columns`` configure it."""
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", height="content", column_config=columns)


def show_comparison(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Show the metrics of challenger and champion, and between which ends their difference lies."""
    ours, theirs = metrics.get("challenger", {}), metrics.get("champion", {})
    low, high = metrics.get("low", {}), metrics.get("high", {})
    rows = [
        {
            say("metric"): name_metric(name),
            say("challenger"): f"{value:.3f}",
            say("champion"): f"{theirs[name]:.3f}" if name in theirs else NOTHING,
            say("likely_difference"): say("from_to", low=f"{low[name]:+.3f}", high=f"{high[name]:+.3f}")
            if name in low
            else NOTHING,
        }
        for name, value in ours.items()
    ]
    if rows:
        show_table(rows)
    if replay := metrics.get("replay"):
        st.caption(tell_replay(replay, metrics.get("replay_drivers", {})))


def tell_replay(replay: Mapping[str, float], drivers: Mapping[str, float]) -> str:
    """Return what a replay of logged traffic found, in a sentence or two."""
    told = [
        say("replay_found", rows=f"{replay['rows']:,.0f}", share=spell_share(replay["disagreement"])),
        *([say("replay_drivers", names=", ".join(name_feature(name) for name in drivers))] if drivers else []),
    ]
    if "right" in replay and "champion_right" in replay:
        right = {name: spell_share(replay[name]) for name in ("right", "champion_right")}
        told.append(say("replay_right", labelled=f"{replay['labelled']:,.0f}", **right))
    return " ".join(told)
