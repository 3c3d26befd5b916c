"""The page: ``streamlit run ./front/front.py``. It talks to the API over HTTP and to nothing else."""

import time
from pathlib import Path
from typing import Any, Literal

import experiments
import many
import model
import monitoring
import predict
import service
import streamlit as st
from api import TOLD, ApiProblem, ask, read_release
from words import TABLE, choose_language, say

STYLE = Path(__file__).with_name("style.css")
ICON = "🍷"
SIDEBAR = 230  # pixels
POLL = 2.0  # seconds between two polls of the API's health, and at which release serves
# Seconds after a change in which the whole page is drawn anew: where Streamlit has not sent the change's end yet when
# another fragment begins, it sends that the change was broken off, and then what the change replaced stays on the page.
UNSENT = 0.5
VIEWS = {
    "predict": (predict.show, ":material/tune:"),
    "many": (many.show, ":material/table_rows:"),
    "experiments": (experiments.show, ":material/science:"),
    "model": (model.show, ":material/deployed_code:"),
    "monitoring": (monitoring.show, ":material/monitoring:"),
    "service": (service.show, ":material/dns:"),
}
FIRST = "predict"
COLOURS: dict[str, Literal["green", "orange"]] = {"ok": "green", "degraded": "orange"}  # of a health; red of any other


def main() -> None:
    """Draw the page."""
    release = find_release()
    st.session_state["table"] = release.get("name", TABLE)
    title = release.get("title") or say("title")
    st.set_page_config(page_title=title, page_icon=ICON, layout="wide", initial_sidebar_state=SIDEBAR)
    st.html(STYLE)
    pages = [
        st.Page(
            show,
            title=say(f"nav_{name}"),
            icon=icon,
            url_path=name,
            visibility="hidden" if name == FIRST else "visible",
        )
        for name, (show, icon) in VIEWS.items()
    ]
    show, icon = VIEWS[FIRST]  # is at the root, where it has no name, and at its own address
    first = st.Page(show, title=say(f"nav_{FIRST}"), icon=icon, url_path="first", default=True)
    chosen = st.navigation([first, *pages])
    with st.sidebar:
        choose_language()
        show_state(release.get("id"))
    chosen.run()


def find_release() -> dict[str, Any]:
    """Return the release that serves; empty while the API does not say."""
    try:
        return read_release()
    except ApiProblem:
        return {}


@st.fragment(run_every=POLL)
def show_state(drawn: str | None) -> None:
    """Show the API's health and release; draw the whole page anew for another release, and after a problem."""
    if time.monotonic() - st.session_state.pop(predict.DRAWN, 0.0) < UNSENT:
        st.rerun(scope="app")
    try:
        health = ask("GET", "/healthcheck")
        release = read_release() if health["release"] else {}
    except ApiProblem as problem:
        st.badge(say("health_unreachable"), icon=":material/error:", color="red")
        st.caption(str(problem))
        return
    is_over = health["status"] != "down" and st.session_state.pop(TOLD, False)
    if release.get("id") != drawn or is_over:
        st.rerun(scope="app")
    status = health["status"]
    st.badge(say(f"health_{status}"), icon=":material/favorite:", color=COLOURS.get(status, "red"))
    for trouble in list_troubles(health):
        st.caption(trouble)
    if release:
        st.caption(say("release_serves", release=release["id"], model=release["model"]))


def list_troubles(health: dict[str, Any]) -> list[str]:
    """Return what is wrong with the service, a sentence each."""
    troubles = []
    if error := health["store"]["error"]:
        troubles.append(say("trouble_store", error=error))
    if error := health["cache_error"]:
        troubles.append(say("trouble_cache", error=error))
    if rejected := health["rejected"]:
        troubles.append(say("trouble_rejected", release=rejected["release"], reason=rejected["reason"]))
    if error := health["predictions"]["error"]:
        troubles.append(say("trouble_log", error=error))
    return troubles


main()
