"""Service: the health of each part, and what all workers did in the last hour."""

from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st
from api import ask, read_release
from charts import draw_counts, draw_rates, show_chart
from told import NOTHING, keep_fresh, name_target, show_table, spell_share, spell_time
from words import say

FRESH = 10.0  # seconds
PREDICT = "/predict"
Part = tuple[str, bool, str]  # its name, whether it is well, and what there is to say


def show() -> None:
    """Draw the view."""
    st.title(say("nav_service"))
    keep_fresh(_draw, FRESH)


def _draw() -> None:
    health = ask("GET", "/healthcheck")
    activity = ask("GET", "/activity")
    _show_parts(health)
    _show_hour(activity)
    _show_workers(activity)


def _show_parts(health: Mapping[str, Any]) -> None:
    st.header(say("parts"))
    parts = list(_list_parts(health))
    for column, (name, is_well, told) in zip(st.columns(len(parts)), parts, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{name}**")
            st.badge(
                say("part_well" if is_well else "part_ill"),
                icon=":material/check:" if is_well else ":material/error:",
                color="green" if is_well else "red",
            )
            st.caption(told)


def _list_parts(health: Mapping[str, Any]) -> Iterator[Part]:
    release, store, log = health["release"], health["store"], health["predictions"]
    rejected = health["rejected"]
    told = say("part_release_told", release=release) if release else say("part_release_none")
    if rejected:
        told = say("trouble_rejected", release=rejected["release"], reason=rejected["reason"])
    yield say("part_release"), bool(release) and not rejected, told
    age = store["seconds_since_last_poll"]
    polled = say("part_store_told", seconds=f"{age:.0f}") if age is not None else say("part_store_none")
    yield say("part_store"), store["reachable"], store["error"] or polled
    yield say("part_cache"), health["cache_error"] is None, health["cache_error"] or say("part_cache_told")
    waiting = say("part_log_told", kilobytes=f"{log['pending_bytes'] / 1000:,.0f}", dropped=f"{log['dropped']:,}")
    yield say("part_log"), log["error"] is None, log["error"] or waiting


def _show_hour(activity: Mapping[str, Any]) -> None:
    seconds = max(activity["seconds"], 1)
    st.header(say("hour") if seconds >= 3540 else say("hour_part", minutes=max(seconds // 60, 1)))
    routes = activity["routes"]
    predict: Mapping[str, Any] = next((one for one in routes if one["route"] == PREDICT), {})
    requests, failed = (sum(one[name] for one in routes) for name in ("requests", "failed"))
    rate, rows, median, p99, errors = st.columns([6, 5, 6, 6, 4])
    rate.metric(say("hour_rate"), f"{60 * requests / seconds:,.1f}", border=True, help=say("hour_rate_help"))
    rows.metric(say("hour_rows"), f"{sum(activity['predictions'].values()):,}", border=True)
    median.metric(say("hour_median"), _spell_ms(predict.get("median_seconds")), border=True, help=say("hour_time_help"))
    p99.metric(say("hour_p99"), _spell_ms(predict.get("p99_seconds")), border=True, help=say("hour_p99_help"))
    share = spell_share(failed / requests) if requests else NOTHING
    errors.metric(say("hour_failed"), share, border=True, help=say("hour_failed_help"))
    left, right = st.columns([3, 2])
    with left:
        names = say("hour_requests"), say("hour_predictions")
        minutes = [
            {"time": minute["time"], "of": name, "rate": 60 * minute[key] / max(minute["seconds"], 1)}
            for minute in activity["minutes"]
            for name, key in zip(names, ("requests", "predictions"), strict=True)
        ]
        show_chart(draw_rates(minutes, names, say("hour_per_minute")), say("hour_about"))
    with right:
        if activity["predictions"]:
            release = read_release()
            classes = [
                {"class": str(label), "rows": activity["predictions"].get(str(label), 0)}
                for label in release["classes"]
            ]
            title = say("confusion_predicted", target=name_target(release))
            show_chart(draw_counts(classes, title, say("day_rows")), say("hour_classes"))
        else:
            st.info(say("hour_no_predictions"), icon=":material/hourglass_empty:")
    _show_routes(routes)


def _show_routes(routes: list[dict[str, Any]]) -> None:
    if not routes:
        return
    with st.expander(say("routes")):
        show_table(
            [
                {
                    say("route"): one["route"],
                    say("hour_requests"): one["requests"],
                    say("rejected"): one["rejected"],
                    say("failed"): one["failed"],
                    say("hour_median"): _spell_ms(one["median_seconds"]),
                    say("hour_p99"): _spell_ms(one["p99_seconds"]),
                }
                for one in routes
            ]
        )


def _show_workers(activity: Mapping[str, Any]) -> None:
    st.header(say("workers"))
    show_table(
        [
            {
                say("worker"): one["worker"],
                say("process"): str(one["process"]),
                say("release"): one["release"] or NOTHING,
            }
            for one in activity["workers"]
        ]
    )
    served = {one["release"] for one in activity["workers"]}
    st.caption(say("workers_same" if len(served) == 1 else "workers_differ", time=spell_time(activity["since"])))


def _spell_ms(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    return say("milliseconds", value=f"{1000 * seconds:.1f}" if seconds < 0.1 else f"{1000 * seconds:,.0f}")
