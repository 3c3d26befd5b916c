"""The API over HTTP, by one client that is kept, and a sentence for whatever it does not answer."""

import os
import time
from collections.abc import Sequence
from typing import Any

import httpx
import streamlit as st
from words import say

API = "http://127.0.0.1:8000"  # unless API_URL says another
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
REST_SECONDS = 2.0  # after an answer that did not come in time, in which nobody waits for another
TOLD = "api_problem"  # in the session, while a view shows a problem that may be over soon
HEALTH = "/healthcheck"  # which answers in its own words, well or not
ALWAYS = {HEALTH: {"status", "release", "store", "rejected", "predictions"}, "/release": {"id", "features", "classes"}}
OWN_WORDS = {401: "api_key", 404: "api_not_found", 408: "api_late_body", 413: "api_too_large", 422: "api_invalid"}


class ApiProblem(Exception):
    """What a person is told when the API gives no answer to show; ``status`` is None where it gave none at all."""

    def __init__(self, sentence: str, status: int | None = None, faults: Sequence[dict[str, Any]] = ()) -> None:
        """Hold the sentence, and of a rejected body what is wrong with each field."""
        super().__init__(sentence)
        self.status = status
        self.faults = faults


def address() -> str:
    """Return where the API is."""
    return (os.environ.get("API_URL") or API).rstrip("/")


def ask(method: str, path: str, **content: Any) -> dict[str, Any]:
    """Return the API's JSON answer; ``content`` is what httpx takes: ``json``, ``params``, ``timeout`` …

    Raises:
        ApiProblem: it is unreachable, slow, not ready, or rejects.

    """
    body = _read(fetch(method, path, **content))
    if not body or not ALWAYS.get(path, set()) <= body.keys():
        raise ApiProblem(say("api_no_json", address=address()))
    return body


def fetch(method: str, path: str, **content: Any) -> httpx.Response:
    """Return the API's answer, whatever its form; raises as :func:`ask` does."""
    rest = _rest()
    if time.monotonic() < rest["until"]:
        raise ApiProblem(say("api_slow", address=address(), seconds=f"{ANSWER_SECONDS:g}"))
    headers = {"X-API-Key": key} if (key := os.environ.get("FRONT_API_KEY")) else {}
    try:
        answer = _client(address()).request(method, path, headers=headers | content.pop("headers", {}), **content)
    except httpx.TimeoutException as error:
        rest["until"] = time.monotonic() + REST_SECONDS
        raise ApiProblem(say("api_slow", address=address(), seconds=f"{ANSWER_SECONDS:g}")) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ApiProblem(say("api_unreachable", address=address())) from error
    if answer.is_success or (path == HEALTH and ALWAYS[HEALTH] <= _read(answer).keys()):
        return answer
    raise _tell(answer)


def read_release() -> dict[str, Any]:
    """Return what ``/release`` says, or said last, so that a form outlives the API; raises as ``ask`` does.

    Raises:
        ApiProblem: it has never answered.

    """
    known = _known(address())
    try:
        known["release"] = ask("GET", "/release")
    except ApiProblem:
        if "release" not in known:
            raise
    release: dict[str, Any] = known["release"]
    return release


def show_problem(problem: ApiProblem) -> None:
    """Show a problem in place of what the API would have said; the page tries again when the API is well."""
    st.error(str(problem), icon=":material/cloud_off:")
    st.button(say("try_again"))
    st.session_state[TOLD] = problem.status in (None, 503)


def _read(answer: httpx.Response) -> dict[str, Any]:
    """Return the object that an answer is in JSON; empty where it is none."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _tell(answer: httpx.Response) -> ApiProblem:
    status, body = answer.status_code, _read(answer)
    detail = str(body.get("detail") or answer.reason_phrase)
    if status == 503:
        return ApiProblem(say("api_not_ready", detail=detail), status)
    key = OWN_WORDS.get(status, "api_failed" if status >= 500 else "api_rejected")
    return ApiProblem(say(key, status=status, detail=detail), status, body.get("errors", ()))


@st.cache_resource(show_spinner=False)
def _client(base: str) -> httpx.Client:
    return httpx.Client(base_url=base, timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS))


@st.cache_resource(show_spinner=False)
def _rest() -> dict[str, float]:
    """Return until when nobody waits for an API that hangs; one for every session."""
    return {"until": 0.0}


@st.cache_resource(show_spinner=False)
def _known(base: str) -> dict[str, Any]:
    """Return what the API at ``base`` said last."""
    return {}
