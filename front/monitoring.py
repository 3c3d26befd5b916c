"""Monitoring: what is wrong now, how the last days went, and what turned out true of a prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from api import ApiProblem, ask, read_release
from charts import draw_classes, draw_days, draw_distances, show_chart
from told import (
    NOTHING,
    keep_fresh,
    name_feature,
    name_target,
    show_nothing,
    show_table,
    spell_share,
    spell_time,
)
from words import catalogue, say

FRESH = 20.0  # seconds


def show() -> None:
    """Draw the view."""
    st.title(say("nav_monitoring"))
    keep_fresh(_show_alerts, FRESH)
    keep_fresh(_show_days, FRESH)
    keep_fresh(_label, FRESH)


def _show_alerts() -> None:
    alerts = ask("GET", "/alerts")["alerts"]
    if not alerts:
        st.success(say("alerts_none"), icon=":material/check_circle:")
    for alert in alerts:
        kind = say(f"alert_{alert['kind']}") if f"alert_{alert['kind']}" in catalogue() else alert["kind"]
        told = say("alert", kind=kind, what=alert["what"], since=spell_time(alert["since"]))
        if alert["over"]:
            st.info(f"{told} {say('alert_over', time=spell_time(alert['over']))}", icon=":material/check:")
        else:
            st.warning(f"{told}\n\n{say('alert_command', command=alert['command'])}", icon=":material/warning:")


def _show_days() -> None:
    found = ask("GET", "/monitoring/days")
    for fault in found["unread"]:
        st.warning(say("days_unread", fault=fault))
    days = found["days"]
    if not days:
        show_nothing("days_none")
        return
    dates = [day["date"] for day in reversed(days)]
    chosen = st.selectbox(say("day"), dates, key="day", help=say("day_help"))
    figures = ask("GET", "/monitoring", params={"date": chosen})
    _show_figures(figures)
    if figures["drift"]:
        _show_drift(figures["drift"])
    for note in (*figures["notes"], *figures["unread"]["told"]):
        st.caption(note)
    _show_course(days)


def _show_figures(figures: Mapping[str, Any]) -> None:
    performance = figures["performance"] or {}
    expected, measured = _find_accuracy(performance)
    drift = figures["drift"]
    alarms = [one for one in (*drift["features"], drift["mix"]) if one["drifted"]] if drift else None
    rows, labelled, first, second, third = st.columns([4, 5, 7, 6, 5])
    rows.metric(say("day_rows"), f"{figures['rows']:,}", border=True)
    labelled.metric(say("day_labelled"), f"{performance.get('labelled', 0):,}", border=True)
    for column, key, one in ((first, "day_expected", expected), (second, "day_measured", measured)):
        value = spell_share(one["value"]) if one else NOTHING
        column.metric(say(key), value, help=say(f"{key}_help"), border=True)
    drifted = NOTHING if alarms is None else str(len(alarms))
    third.metric(say("day_drifted"), drifted, help=say("day_drifted_help"), border=True)
    told = [
        say(f"{key}_told", **{name: spell_share(one[name]) for name in ("low", "high")})
        for key, one in (("day_expected", expected), ("day_measured", measured))
        if one
    ]
    if expected and expected["test"] is not None:
        told.append(say("day_test_told", test=spell_share(expected["test"])))
    if figures["release"]:
        told.append(say("day_release", release=figures["release"]))
    st.caption(" ".join(told))
    if guard := figures["guard"]:
        (st.error if guard["is_worse"] else st.caption)(say("guard", told=guard["told"]))


def _show_drift(drift: Mapping[str, Any]) -> None:
    names = say("drift_yes"), say("drift_no")
    features = sorted(drift["features"], key=lambda one: -one["distance"])
    far = [name_feature(one["name"]) for one in features if one["drifted"]]
    left, right = st.columns([3, 2])
    with left:
        st.header(say("drift"))
        rows = [
            {
                "name": name_feature(one["name"]),
                "drifted": names[0] if one["drifted"] else names[1],
                **{end: one[end] for end in ("distance", "low", "high")},
            }
            for one in features
        ]
        about = say("drift_found", names=", ".join(far)) if far else say("drift_none", count=len(features))
        show_chart(draw_distances(rows, say("drift_distance"), names), f"{about} {say('drift_about')}")
    with right:
        st.header(say("mix"))
        sides = {"expected": say("mix_expected"), "found": say("mix_found")}
        shares = [
            {"class": label, "of": name, "share": share}
            for side, name in sides.items()
            for label, share in drift["mix"][side].items()
        ]
        about = say("mix_drifted" if drift["mix"]["drifted"] else "mix_same")
        show_chart(draw_classes(shares, list(sides.values()), say("mix_class"), say("mix_share")), about)


def _show_course(days: Sequence[Mapping[str, Any]]) -> None:
    st.header(say("course"))
    names = say("day_expected"), say("day_measured")
    rows = []
    for day in days:
        for name, one in zip(names, _find_accuracy(day["performance"] or {}), strict=True):
            if one:
                rows.append(
                    {"date": day["date"], "of": name} | {key: 100 * one[key] for key in ("value", "low", "high")}
                )
    if rows:
        show_chart(draw_days(rows, names, say("course_accuracy")), say("course_about"))
    show_table([_describe_day(day) for day in reversed(days)])


def _find_accuracy(performance: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what is expected and what was measured; None where that cannot be told."""
    measured = {name.lower(): one for name, one in performance.get("measured", {}).items()}
    return performance.get("expected_accuracy"), measured.get("accuracy")


def _describe_day(day: Mapping[str, Any]) -> dict[str, Any]:
    drifted = [*map(name_feature, day["drifted"] or ()), *([say("mix")] if day["mix_drifted"] else [])]
    quiet = NOTHING if day["drifted"] is None else say("drift_nothing")
    return {
        say("day"): day["date"],
        say("day_rows"): day["rows"],
        say("day_labelled"): (day["performance"] or {}).get("labelled", 0),
        say("day_drifted"): ", ".join(drifted) or quiet,
        say("release"): day["release"] or NOTHING,
        say("day_guard"): say("guard_worse" if day["is_worse"] else "guard_quiet"),
    }


def _label() -> None:
    st.header(say("label"))
    release = read_release()
    target = name_target(release)
    with st.form("label", border=True):
        identifier = st.text_input(say("label_id"), help=say("label_id_help"), placeholder="18eb2d7b760a723d1e6940df")
        truth = st.selectbox(say("label_truth", target=target), release["classes"])
        sent = st.form_submit_button(say("label_send"), icon=":material/label:")
    if sent and not identifier.strip():
        st.warning(say("label_no_id"))
    elif sent:
        _send_label(identifier.strip(), release["target"], int(truth))


def _send_label(identifier: str, target: str, truth: int) -> None:
    try:
        answer = ask("POST", "/labels", json=[{"id": identifier, target: truth}], timeout=15)
    except ApiProblem as problem:
        st.error(say("label_wrong_id") if problem.status == 422 else str(problem))
        return
    if answer["taken"]:
        st.success(say("label_taken", truth=truth))
    elif answer["labelled_otherwise"]:
        st.warning(say("label_otherwise", truth=answer["labelled_otherwise"][identifier]))
    elif answer["labelled_before"]:
        st.info(say("label_before", truth=truth))
    else:
        st.warning(say("label_unknown"))
