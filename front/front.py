"""The page: ``streamlit run ./front/front.py``. It talks to the API over HTTP and to nothing else."""

import os
from typing import Any

import httpx
import pandas as pd
import streamlit as st

TIMEOUT = 5.0  # seconds
COLUMNS = 3
API = "http://127.0.0.1:8000"  # unless API_URL says another


class ApiProblem(Exception):
    """What a person is told when the API gives no answer to show."""


def ask(api: str, method: str, path: str, **content: Any) -> dict[str, Any]:
    """Return the API's JSON answer.

    Raises:
        ApiProblem: it is unreachable, not ready, or rejects.

    """
    try:
        answer = httpx.request(method, f"{api.rstrip('/')}{path}", timeout=TIMEOUT, **content)
        body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ApiProblem(f"The API at {api} does not answer ({type(error).__name__}). Is it running?") from error
    if answer.is_success or path == "/healthcheck":
        return body
    words = "is not ready" if answer.status_code == 503 else "rejected this"
    raise ApiProblem(f"The API {words}: {body.get('detail', answer.reason_phrase)}")


def find_title(api: str) -> str:
    """Return what the API calls itself; without an answer, what the page is for."""
    try:
        return str(ask(api, "GET", "/openapi.json")["info"]["title"])
    except ApiProblem:
        return "Predictions"


def show_health(api: str) -> None:
    """Show in the sidebar whether the service can predict, and what is wrong where something is."""
    try:
        health = ask(api, "GET", "/healthcheck")
    except ApiProblem:
        st.sidebar.error("API: unreachable")
        return
    show = {"ok": st.sidebar.success, "degraded": st.sidebar.warning}.get(health["status"], st.sidebar.error)
    show(f"API: {health['status']}")
    if health["store"]["error"]:
        st.sidebar.caption(f"Store: {health['store']['error']}")
    if health["cache_error"]:
        st.sidebar.caption(f"The release is not on the API's disk: {health['cache_error']}")
    if health["rejected"]:
        st.sidebar.caption(f"Release {health['rejected']['release']} was rejected: {health['rejected']['reason']}")


def show_release(release: dict[str, Any]) -> None:
    """Show in the sidebar which release is serving and how it scored on the test rows."""
    st.sidebar.markdown(f"Release `{release['id']}`  \n{release['model']}")
    for name, value in release["metrics"]["test"].items():
        st.sidebar.metric(f"{name} on test", f"{value:.3f}")


def ask_for_features(features: list[dict[str, Any]], target: str) -> dict[str, float] | None:
    """Draw the form; returns the features by their snake_case names when it is sent."""
    values = {}
    with st.form("features"):
        for place, feature in enumerate(features):
            if place % COLUMNS == 0:
                row = st.columns(COLUMNS)
            column = row[place % COLUMNS]
            unit = f" ({feature['unit']})" if feature["unit"] else ""
            step = 10 ** -decimals(feature)
            values[spell(feature["name"])] = column.number_input(
                f"{feature['name']}{unit}",
                min_value=min(0.0, feature["minimum"]),
                value=feature["median"],
                step=step,
                format=f"%.{decimals(feature)}f",
            )
            column.caption(f"training saw {feature['minimum']:g} to {feature['maximum']:g}")
        sent = st.form_submit_button(f"Predict the {target}", type="primary")
    return values if sent else None


def spell(name: str) -> str:
    """Return a name as the API's fields spell it."""
    return name.replace(" ", "_")


def decimals(feature: dict[str, Any]) -> int:
    """Return how many decimals a feature needs: more where its training range is narrow."""
    width = feature["maximum"] - feature["minimum"]
    return 4 if width < 0.1 else 3 if width < 1 else 2 if width < 5 else 1


def show_prediction(prediction: dict[str, Any], target: str) -> None:
    """Show the predicted class, the probabilities of all, and what was unusual in the input."""
    left, right = st.columns([1, 2])
    predicted = prediction[f"predicted_{spell(target)}"]
    left.metric(f"Predicted {target}", predicted)
    left.caption(f"with probability {prediction['probabilities'][str(predicted)]:.0%}")
    left.caption(f"answered by release `{prediction['release']}`")
    chart = pd.DataFrame({"probability": prediction["probabilities"]}).rename_axis(target)
    right.bar_chart(chart, x_label=target, y_label="probability", horizontal=False)
    for warning in prediction["warnings"]:
        st.warning(warning)


def main() -> None:
    """Draw the page."""
    api = os.environ.get("API_URL") or API
    title = find_title(api)
    st.set_page_config(page_title=title, layout="wide")
    st.title(title)
    show_health(api)
    try:
        release = ask(api, "GET", "/release")
        show_release(release)
        target = release["target"]
        features = ask_for_features(release["features"], target)
        if features:
            show_prediction(ask(api, "POST", "/predict", json=features), target)
    except ApiProblem as problem:
        st.error(str(problem))
        st.button("Try again")


main()
