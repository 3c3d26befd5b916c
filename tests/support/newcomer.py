"""What a person does with a running stack, whatever it runs on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from local.airflow_client import DAG
from tests.support import tools
from tests.support.throwaway import Checkout

WORSE_C = 0.001


def set_c(checkout: Checkout, value: float) -> None:
    """Change the model's parameter in a checkout, as a person edits it."""
    config = checkout.folder / "src" / "config.py"
    text, count = re.subn(r'"C": [0-9.e-]+', f'"C": {value}', config.read_text(), count=1)
    assert count == 1
    config.write_text(text)


@contextmanager
def open_page(*flags: str) -> Iterator[Page]:
    """Open a page in a Chromium of its own, which is started with ``flags`` too."""
    with open_browser(*flags) as browser:
        yield browser.new_page()


@contextmanager
def open_browser(*flags: str) -> Iterator[Browser]:
    """Start Chromium."""
    command = tools.find("chromium")
    assert command, "Chromium is not installed"
    arguments = ["--no-sandbox", "--disable-background-networking", *flags]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PLAYWRIGHT_NODEJS_PATH", tools.NODE)  # its own needs a library that not every machine has
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=command[0], args=arguments, env=tools.browser_environment()
            )
            yield browser
            browser.close()


def predict_on_the_page(url: str, release: str) -> None:
    """Change a wine on the page in Chromium, and see the prediction of ``release`` follow."""
    with open_page() as page:
        page.goto(url)
        page.get_by_role("spinbutton", name="alcohol").fill("20", timeout=120_000)
        page.keyboard.press("Enter")
        told = re.compile("^[3-8], (almost surely|most likely|perhaps|nearly as likely)")
        expect(page.get_by_text(told)).to_be_visible(timeout=120_000)
        expect(page.get_by_text("The training data has 8.4 to 14.9")).to_be_visible()
        expect(page.get_by_text(release).first).to_be_visible()


def log_in_to_airflow(url: str, user: str, password: str) -> None:
    """Give a wrong password and then the right one to Airflow's login page in Chromium, and see the DAG's page."""
    with open_page() as page:
        page.goto(f"{url}/dags/{DAG}")
        _give_login(page, user, f"{password}x")
        expect(page.get_by_text("Invalid login")).to_be_visible(timeout=60_000)
        _give_login(page, user, password)
        expect(page.get_by_text(DAG).first).to_be_visible(timeout=60_000)
        expect(page.locator("input[name=password]")).to_have_count(0)


def _give_login(page: Page, user: str, password: str) -> None:
    expect(page.locator("input[name=password]")).to_be_visible(timeout=60_000)
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(password)
    page.locator("input[type=submit]").click()
