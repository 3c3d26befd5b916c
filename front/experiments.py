"""Experiments: the search's trials, who leads, and the figures of each."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from api import ApiProblem, ask, read_release
from charts import draw_confusion, draw_trials, show_chart
from told import NOTHING, ask_if_any, keep_fresh, name_metric, name_target, show_nothing, show_table, spell_time
from words import say

FRESH = 30.0  # seconds
PARTS = ("cv", "test", "train")
Trial = Mapping[str, Any]


def show() -> None:
    """Draw the view."""
    st.title(say("nav_experiments"))
    keep_fresh(_draw, FRESH)


def _draw() -> None:
    latest = ask_if_any("/experiments")
    if latest is None:
        show_nothing("experiments_none")
        return
    searches = latest["searches"]
    chosen = searches[0]
    if len(searches) > 1:
        chosen = st.selectbox(say("experiments_search"), searches, format_func=spell_time, key="search")
    found = latest if chosen == latest["search"] else ask("GET", "/experiments", params={"search": chosen})
    metric, serving = found["metric"], _find_serving()
    done = sorted((one for one in found["trials"] if not one["error"]), key=lambda one: -one["scores"]["cv"][metric])
    failed = [one for one in found["trials"] if one["error"]]
    st.markdown(
        say(
            "experiments_about",
            time=spell_time(chosen),
            count=len(found["trials"]),
            failed=len(failed),
            metric=name_metric(metric),
        )
    )
    if done:
        _show_leaderboard(done, metric, serving)
        _show_scatter(done, metric)
        _show_trial(done, found["classes"], serving)
    for trial in failed:
        st.warning(say("trial_failed", task=trial["task"], error=trial["error"]))


def _find_serving() -> Mapping[str, Any]:
    try:
        return read_release()
    except ApiProblem:
        return {}


def _is_serving(trial: Trial, serving: Mapping[str, Any]) -> bool:
    return all(trial[name] == serving.get(name) for name in ("model", "parameters"))


def _show_leaderboard(trials: Sequence[Trial], metric: str, serving: Mapping[str, Any]) -> None:
    st.header(say("leaderboard"))
    varied = _find_varied(trials)
    columns: dict[str, Any] = {
        say(f"part_{part}"): st.column_config.NumberColumn(format="%.3f", help=say(f"part_{part}_help"))
        for part in PARTS
    }
    columns[say("gap")] = st.column_config.NumberColumn(format="%.3f", help=say("gap_help"))
    columns[say("trial_link")] = st.column_config.LinkColumn(display_text=say("trial_open"))
    rows = [
        {
            say("rank"): place,
            say("trial"): trial["task"] + (f" · {say('trial_serves')}" if _is_serving(trial, serving) else ""),
            say("model"): trial["model"],
            **{say(f"part_{part}"): trial["scores"][part][metric] for part in PARTS},
            say("gap"): trial["scores"]["train"][metric] - trial["scores"]["test"][metric],
            say("parameters"): _spell_parameters(trial, varied),
            say("seconds"): f"{trial['seconds']:.1f}",
            **({say("trial_link"): trial["link"]} if any(one["link"] for one in trials) else {}),
        }
        for place, trial in enumerate(trials, 1)
    ]
    if len(rows) > 10:
        st.dataframe(rows, hide_index=True, width="stretch", height=388, column_config=columns)
    else:
        show_table(rows, **columns)
    st.caption(say("leaderboard_about", metric=name_metric(metric)))


def _show_scatter(trials: Sequence[Trial], metric: str) -> None:
    varied = _find_varied(trials)
    rows = [
        {
            "task": trial["task"],
            "model": trial["model"],
            "x": trial["scores"]["cv"][metric],
            "y": trial["scores"]["test"][metric],
            "parameters": _spell_parameters(trial, varied),
        }
        for trial in trials
    ]
    axes = [f"{name_metric(metric)}, {say(f'part_{part}')}" for part in ("cv", "test")]
    show_chart(draw_trials(rows, *axes), say("scatter_about"))


def _show_trial(trials: Sequence[Trial], classes: Sequence[int], serving: Mapping[str, Any]) -> None:
    st.header(say("one_trial"))
    by_task = {trial["task"]: trial for trial in trials}
    trial = by_task[st.selectbox(say("trial"), list(by_task), key="trial")]
    left, right = st.columns(2)
    with left:
        scores = trial["scores"]
        show_table(
            [
                {
                    say("metric"): name_metric(name),
                    **{say(f"part_{part}"): f"{scores[part][name]:.3f}" for part in PARTS},
                }
                for name in scores["test"]
            ]
        )
        st.markdown(f"**{trial['model']}:** " + _spell_parameters(trial, trial["parameters"].keys()))
        if trial["link"]:
            st.link_button(say("trial_open"), trial["link"], icon=":material/open_in_new:")
    with right:
        target = name_target(serving) if serving else say("target")
        labels = say("confusion_true", target=target), say("confusion_predicted", target=target)
        rows, hits = sum(map(sum, trial["confusion"])), sum(row[n] for n, row in enumerate(trial["confusion"]))
        about = say("confusion_about", rows=rows, hits=hits)
        show_chart(draw_confusion(trial["confusion"], classes, *labels), about)


def _find_varied(trials: Sequence[Trial]) -> set[str]:
    """Return the parameters in which trials of the same model differ."""
    seen: dict[tuple[str, str], set[str]] = {}
    for trial in trials:
        for name, value in trial["parameters"].items():
            seen.setdefault((trial["model"], name), set()).add(json.dumps(value))
    return {name for (_, name), values in seen.items() if len(values) > 1}


def _spell_parameters(trial: Trial, names: Any) -> str:
    told = [(name, value) for name, value in trial["parameters"].items() if name in names]
    return ", ".join(f"{name} = {NOTHING if value is None else value}" for name, value in told)
