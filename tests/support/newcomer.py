"""What a person does with a running stack, whatever it runs on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

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
        expect(page.get_by_text("Training saw 8.4 to 14.9")).to_be_visible()
        expect(page.get_by_text(release).first).to_be_visible()
