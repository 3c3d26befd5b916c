"""Model: the release that serves, how good it is, what it came from, and how it got there."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from api import ask
from charts import draw_calibration, draw_confusion, draw_metrics, show_chart
from told import (
    NOTHING,
    ask_if_any,
    attempt,
    explain_metric,
    keep_fresh,
    name_feature,
    name_metric,
    name_target,
    show_comparison,
    show_nothing,
    show_table,
    spell_share,
    spell_time,
)
from words import say

FRESH = 20.0  # seconds
SHORT = 12  # digits of a hash that people compare
TABS = ("quality", "history", "last_run", "origin", "card")


def show() -> None:
    """Draw the view."""
    st.title(say("nav_model"))
    keep_fresh(_draw, FRESH)


def _draw() -> None:
    release = ask("GET", "/release")
    promotion = release["meta"].get("promotion", {})
    st.markdown(
        say("model_serves", release=release["id"], model=release["model"], time=spell_time(promotion["time"]))
        if promotion
        else say("model_serves_unknown", release=release["id"], model=release["model"])
    )
    _show_metrics(release, promotion)
    quality, history, last_run, origin, card = st.tabs([say(f"model_{name}") for name in TABS])
    with quality:
        attempt(_show_quality, release)
    with history:
        attempt(_show_history)
    with last_run:
        attempt(_show_decision)
    with origin:
        _show_origin(release)
    with card:
        _show_card(release)


def _show_metrics(release: Mapping[str, Any], promotion: Mapping[str, Any]) -> None:
    before = promotion.get("metrics", {}).get("champion", {})
    scores = release["metrics"]["test"]
    for column, (name, value) in zip(st.columns(len(scores)), scores.items(), strict=True):
        change = f"{value - before[name]:+.3f}" if name in before else None
        column.metric(name_metric(name), f"{value:.3f}", change, help=explain_metric(name), border=True)
    st.caption(say("metrics_of_test") + (f" {say('metrics_beside')}" if before else ""))


def _show_quality(release: Mapping[str, Any]) -> None:
    found = ask("GET", "/release/evaluation")
    target = name_target(release)
    left, right = st.columns(2)
    hits = sum(row[place] for place, row in enumerate(found["confusion"]))
    with left:
        st.header(say("confusion"))
        labels = say("confusion_true", target=target), say("confusion_predicted", target=target)
        about = say("confusion_about", rows=found["rows"], hits=hits)
        show_chart(draw_confusion(found["confusion"], found["classes"], *labels), about)
    with right:
        st.header(say("calibration"))
        chart = draw_calibration(found["calibration"], say("calibration_sure"), say("calibration_right"))
        show_chart(chart, say("calibration_about", bins=len(found["calibration"])))
    st.header(say("by_class"))
    show_table(list(_describe_classes(found, target)))


def _describe_classes(found: Mapping[str, Any], target: str) -> Sequence[dict[str, Any]]:
    columns = [sum(column) for column in zip(*found["confusion"], strict=True)]
    return [
        {
            target.capitalize(): str(label),
            say("class_rows"): sum(row),
            say("class_recall"): spell_share(row[place] / sum(row)) if sum(row) else NOTHING,
            say("class_precision"): spell_share(row[place] / columns[place]) if columns[place] else NOTHING,
        }
        for place, (label, row) in enumerate(zip(found["classes"], found["confusion"], strict=True))
    ]


def _show_history() -> None:
    events = ask("GET", "/history")["promotions"]
    if not events:
        show_nothing("history_none")
        return
    known = {event["replaced"]: event["metrics"]["champion"] for event in events if "champion" in event["metrics"]}
    known |= {event["release"]: event["metrics"]["challenger"] for event in events if "challenger" in event["metrics"]}
    rows = [
        {"time": event["time"], "metric": name_metric(name), "value": value}
        for event in events
        for name, value in known.get(event["release"], {}).items()
    ]
    if len(events) > 1 and rows:
        show_chart(draw_metrics(rows, say("history_when")), say("history_about", count=len(events)))
    for place, event in enumerate(reversed(events)):
        title = say(
            f"history_{event['kind']}",
            time=spell_time(event["time"]),
            release=event["release"],
            replaced=event["replaced"] or say("history_nothing"),
        )
        with st.expander(title, expanded=place == 0):
            st.markdown(say("history_reason", reason=event["reason"], by=event["by"]))
            show_comparison(event["metrics"])


def _show_decision() -> None:
    decision = ask_if_any("/decision")
    if decision is None:
        show_nothing("decision_none")
        return
    told = st.success if decision["promote"] else st.info
    told(say("decision_promoted" if decision["promote"] else "decision_held", reason=decision["reason"]))
    names = {name: decision[name] or say("history_nothing") for name in ("release", "champion", "run", "looks")}
    st.markdown(say("decision_between", time=spell_time(decision["time"]), **names))
    show_comparison(decision["metrics"])


def _show_origin(release: Mapping[str, Any]) -> None:
    meta, data = release["meta"], release["data"]
    facts = {
        "origin_data": f"`{data['path']}`, md5 `{_shorten(data['md5'])}`",
        "origin_rows": f"md5 `{_shorten(release['train']['md5'])}` / `{_shorten(release['test']['md5'])}`",
        "origin_split": _list_pairs(release["split"]),
        "origin_commit": f"`{meta['git_commit'][:SHORT]}`" if "git_commit" in meta else NOTHING,
        "origin_run": f"`{meta.get('run_id', NOTHING)}`",
        "origin_trained": spell_time(meta["trained_at"]) if "trained_at" in meta else NOTHING,
        "origin_release": f"`{release['pointer']['md5']}`",
    }
    st.markdown("\n".join(f"- **{say(name)}:** {value}" for name, value in facts.items()))
    left, right = st.columns(2)
    for column, title in ((left, "parameters"), (right, "libraries")):
        with column:
            st.header(say(title))
            rows = [{say("name"): name, say("value"): _spell(value)} for name, value in release[title].items()]
            show_table(rows)


def _show_card(release: Mapping[str, Any]) -> None:
    card = write_card(release)
    with st.container(border=True):
        st.markdown(card)
    name = f"model-card-{release['id']}.md"
    st.download_button(say("card_download"), card, name, "text/markdown", icon=":material/download:")


def write_card(release: Mapping[str, Any]) -> str:
    """Return the model card as Markdown: what it is for, what it was made of, how good it is, and what it cannot."""
    target, classes = name_target(release), release["classes"]
    scores = "\n".join(
        f"| {name_metric(name)} | {release['metrics']['train'].get(name, float('nan')):.3f} | {value:.3f} |"
        for name, value in release["metrics"]["test"].items()
    )
    weakest = sorted(release["metrics"]["recall"].items(), key=lambda one: one[1])[:2]
    features = "\n".join(
        f"| {name_feature(one['name'])} | {one['unit'] or NOTHING} | {one['minimum']:g} | {one['median']:g} "
        f"| {one['maximum']:g} |"
        for one in release["features"]
    )
    return "\n\n".join(
        [
            f"#### {release['title']}: {release['id']}",
            say("card_use", target=target, classes=", ".join(map(str, classes)), count=len(release["features"])),
            f"**{say('card_model')}** {release['model']} ({_list_pairs(release['parameters'])})",
            f"**{say('card_data')}** {say('card_data_told', md5=_shorten(release['data']['md5']))}",
            f"| {say('metric')} | {say('card_train')} | {say('card_test')} |\n|---|---:|---:|\n{scores}",
            f"**{say('card_limits')}** {say('card_limits_told')} "
            + (
                say("card_weakest", told=", ".join(f"{label} ({spell_share(share)})" for label, share in weakest))
                if weakest
                else ""
            ),
            f"| {say('card_feature')} | {say('card_unit')} | min | median | max |\n|---|---|--:|--:|--:|\n{features}",
        ]
    )


def _shorten(md5: str) -> str:
    return md5[:SHORT]


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _list_pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_spell(value)}" for name, value in values.items())
