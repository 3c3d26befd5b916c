"""Experiments, Model, Monitoring and Service in Chromium, on a bucket that people have worked with and its real API."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Page, ViewportSize, expect
from streamlit.testing.v1 import AppTest

from src.core.wine import EXAMPLE
from tests.conftest import new_bucket
from tests.integration.test_api_limits import running
from tests.integration.test_page import PATIENCE, see_no_violation, streamlit
from tests.support.lived_in import LivedIn
from tests.support.newcomer import open_page
from tests.support.services import Service, free_port
from tests.support.tools import needs

VIEWS = ("experiments", "model", "monitoring", "service")
ALONE = "import {view}; {view}.show()"  # a view without the page around it
IS_DRAWN = """view => location.pathname.endsWith(view) && document.querySelector('[data-testid=stMain] h1')
    && !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')"""
IS_WIDER = "() => [...document.querySelectorAll('[data-testid=stMain]')].some(one => one.scrollWidth > one.clientWidth)"

pytestmark = needs("chromium")


@dataclass
class Looking:
    """The page at its address, and what the browser's console complained of."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        """Note a warning or an error."""
        if message.type in ("warning", "error"):
            self.complaints.append(message.text)

    def begin(self, language: str) -> None:
        """Open the page anew."""
        self.page.goto(f"{self.url}/?lang={language}")
        self.page.wait_for_selector("[data-testid=stExpandSidebarButton], [data-testid=stSidebarNavLink]")

    def open(self, view: str) -> Page:
        """Go to a view by its link, and wait until it is drawn."""
        if (expand := self.page.get_by_test_id("stExpandSidebarButton")).is_visible():
            expand.click()
        self.page.locator(f"[data-testid=stSidebarNavLink][href$='/{view}']").click()
        self.page.wait_for_function(IS_DRAWN, arg=view)
        return self.page


@pytest.fixture(scope="module")
def looking(lived_in: LivedIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looking]:
    """Open Chromium at the page of a stack that people have worked with."""
    expect.set_options(timeout=PATIENCE)
    service = streamlit(tmp_path_factory.mktemp("page"), lived_in.api)
    service.start()
    try:
        with open_page() as page:
            looking = Looking(page, service.url.removesuffix("/_stcore/health"))
            page.set_default_timeout(PATIENCE)
            page.on("console", looking.hear)
            page.on("pageerror", lambda error: looking.complaints.append(str(error)))
            looking.begin("en")
            yield looking
    finally:
        service.stop()


def test_the_model_is_told_with_its_history_and_the_last_decision(looking: Looking, lived_in: LivedIn) -> None:
    page = looking.open("model")
    expect(page.get_by_text(f"Release {lived_in.champion.id} serves: LogisticRegression")).to_be_visible()
    metrics = lived_in.get("/release").json()["metrics"]["test"]
    told = page.get_by_test_id("stMetricValue")
    expect(told).to_have_text([f"{value:.3f}" for value in metrics.values()])
    expect(page.get_by_role("heading", name="What it takes for what")).to_be_visible()
    page.get_by_role("tab", name="History").click()
    expect(page.get_by_text(f"{lived_in.champion.id} replaced {lived_in.replaced.id}")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("better beyond chance on 292 wines").first).to_be_visible()
    page.get_by_role("tab", name="Last daily run").click()
    between = f"Challenger {lived_in.challenger.id} beside champion {lived_in.champion.id}"
    expect(page.get_by_text(between)).to_be_visible(timeout=PATIENCE)
    expect(
        page.get_by_text("of 250 rows that were asked about").or_(page.get_by_text("The champion stays"))
    ).to_be_visible()
    page.get_by_role("tab", name="Where it comes from").click()
    expect(page.get_by_text(lived_in.champion.md5)).to_be_visible(timeout=PATIENCE)
    page.get_by_role("tab", name="Model card").click()
    expect(page.get_by_text("Predicts the quality (3, 4, 5, 6, 7, 8) from 11 measured features")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as Markdown").click()
    assert download.value.suggested_filename == f"model-card-{lived_in.champion.id}.md"
    assert looking.complaints == []


def test_the_trials_are_ranked_and_one_of_them_is_chosen_by_keyboard(looking: Looking) -> None:
    page = looking.open("experiments")
    expect(page.get_by_text("trials 4, failed 0")).to_be_visible()
    expect(page.get_by_role("heading", name="Leaderboard")).to_be_visible()
    chosen = page.get_by_role("combobox", name="Trial")
    first = chosen.input_value()
    chosen.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(chosen).not_to_have_value(first)
    assert looking.complaints == []


def test_a_drifted_day_is_named_and_a_prediction_gets_its_label(looking: Looking, lived_in: LivedIn) -> None:
    page = looking.open("monitoring")
    expect(page.get_by_text("Drift since")).to_be_visible()
    expect(page.get_by_text("python -m src.monitoring run --date")).to_be_visible()
    expect(page.get_by_text("Drifted: total sulfur dioxide")).to_be_visible()
    answer = httpx.post(f"{lived_in.url}/predict", json=EXAMPLE).raise_for_status().json()
    page.get_by_role("textbox", name="Id of the prediction").fill(answer["id"])
    page.get_by_role("button", name="Keep the label").click()
    expect(page.get_by_text("Kept: the truth is 3")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("textbox", name="Id of the prediction").fill("18eb2d7b760a723d1e6940df")
    page.get_by_role("button", name="Keep the label").click()
    expect(page.get_by_text("No prediction of this id is in the log")).to_be_visible(timeout=PATIENCE)
    assert looking.complaints == []


def test_the_service_shows_its_parts_its_hour_and_its_workers(looking: Looking, lived_in: LivedIn) -> None:
    httpx.post(f"{lived_in.url}/predict", json=EXAMPLE).raise_for_status()
    page = looking.open("service")
    expect(page.get_by_role("heading", name="Health of each part")).to_be_visible()
    for part in ("Release", "Object store", "Release on disk", "Prediction log"):
        expect(page.get_by_test_id("stMain").get_by_text(part, exact=True).first).to_be_visible()
    rows = page.get_by_test_id("stMetric").filter(has_text="Rows predicted").get_by_test_id("stMetricValue")
    before = int(rows.inner_text())
    for _ in range(3):
        httpx.post(f"{lived_in.url}/predict", json=EXAMPLE).raise_for_status()
    expect(rows).to_have_text(str(before + 3))  # nobody pressed anything
    expect(page.get_by_text("All serve the same release")).to_be_visible()
    assert looking.complaints == []


def test_on_a_phone_in_russian_nothing_is_cut_off_and_each_chart_has_its_words(looking: Looking) -> None:
    looking.page.set_viewport_size(ViewportSize(width=390, height=844))
    looking.begin("ru")
    for view in VIEWS:
        page = looking.open(view)
        charts = page.locator("[data-testid=stVegaLiteChart][role=graphics-document]")
        expect(charts.first).to_be_visible()
        for chart in charts.all():
            assert re.search("[а-яё]{3}", chart.get_attribute("aria-label") or "")
        assert not page.evaluate(IS_WIDER), view
        see_no_violation(page)
    assert looking.complaints == []


def test_in_the_dark_each_view_is_legible(looking: Looking) -> None:
    looking.page.set_viewport_size(ViewportSize(width=1280, height=720))
    looking.page.emulate_media(color_scheme="dark")
    looking.begin("en")
    for view in VIEWS:
        page = looking.open(view)
        expect(page.locator("[data-testid=stVegaLiteChart][role=graphics-document]").first).to_be_visible()
        background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 60, background
        see_no_violation(page)
    looking.page.emulate_media(color_scheme="light")
    assert looking.complaints == []


def test_each_view_has_its_picture(looking: Looking, tmp_path: Path) -> None:
    folder = Path(os.environ.get("PICTURES", tmp_path))  # make screenshots names where the documents' are
    looking.page.set_viewport_size(ViewportSize(width=1280, height=720))
    looking.begin("en")
    for view in VIEWS:
        page = looking.open(view)
        expect(page.locator("[data-testid=stVegaLiteChart][role=graphics-document]").first).to_be_visible()
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        page.screenshot(path=folder / f"page-{view}.png")
        assert (folder / f"page-{view}.png").stat().st_size > 20_000


@pytest.fixture(scope="module")
def nothing(store: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the API on a bucket that holds nothing; returns its address."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        new_bucket(store, monkeypatch)
        with running(tmp_path_factory.mktemp("nothing")) as api:
            yield api.url.removesuffix("/liveness")


@pytest.mark.parametrize(
    ("view", "words"),
    [
        ("experiments", "python -m src.learn_models"),
        ("model", "the daily run makes one"),
        ("monitoring", "make monitor"),
        ("service", "Nothing was predicted"),
    ],
)
def test_before_there_is_anything_each_says_what_makes_it_appear(
    nothing: str, monkeypatch: pytest.MonkeyPatch, view: str, words: str
) -> None:
    monkeypatch.setenv("API_URL", nothing)
    app = AppTest.from_string(ALONE.format(view=view), default_timeout=60).run()
    assert not app.exception
    assert words in " ".join(one.value for one in (*app.info, *app.error))


@pytest.mark.parametrize("view", VIEWS)
def test_an_api_that_is_away_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("API_URL", address)
    app = AppTest.from_string(ALONE.format(view=view), default_timeout=60).run()
    assert not app.exception
    assert all(f"The API at {address} does not answer" in error.value for error in app.error) and app.error
