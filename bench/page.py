"""``make bench-page``: how soon a person sees the page, and the answer to a change, beside a page of one number.

Both pages run in turns on one machine, in Chromium, on a stack of their own. What is timed is what a person sees: from
the address to the predicted grade, and from the key that moves a slider to the grade that it changes.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Locator, Page

from bench.api import report
from bench.load import running
from local.env import read_env
from src.config import PROJECT
from tests.support.newcomer import open_browser
from tests.support.services import Service, free_port
from tests.support.throwaway import choose_ports, throwaway_checkout

ROUNDS, CHANGES = 9, 7
LEAST = """import streamlit as st
value = st.slider("alcohol", 8.0, 15.0)
st.header(f"{value}")
"""
GRADE = ".st-key-answer h2"
CHANGED = "([selector, old]) => document.querySelector(selector).textContent != old"


def main() -> int:
    """Measure and print; returns 1 where a target is missed."""
    with throwaway_checkout() as checkout, TemporaryDirectory() as folder, open_browser() as browser:
        choose_ports(checkout)
        print("starting a stack of its own ...", flush=True)
        subprocess.run(["make", "up"], cwd=checkout.folder, check=True, stdout=subprocess.DEVNULL)
        settings, _ = read_env(checkout.folder / ".env")
        ours = f"http://127.0.0.1:{settings.front_port}"
        with running(least := _least(Path(folder))):
            other = least.url.removesuffix("/_stcore/health")
            paints: dict[str, list[float]] = {ours: [], other: []}
            changes: dict[str, list[float]] = {ours: [], other: []}
            for _ in range(ROUNDS + 1):
                for url, shown in ((ours, GRADE), (other, "h2")):
                    drawn_after, changed_after = _visit(browser, url, shown)
                    paints[url].append(drawn_after)
                    changes[url].extend(changed_after)
    paint, least_paint = (statistics.median(paints[url][1:]) for url in (ours, other))
    change, least_change = (statistics.median(changes[url][CHANGES:]) for url in (ours, other))
    print(f"{'':26}{'ours':>10}{'limit':>10}{'ratio':>8}  target")
    holds: Callable[[float, float], bool] = float.__le__
    return report(
        [
            ("paint, s", paint, 2.0, 1.0, holds),
            ("grade after a change, ms", change, 300.0, 1.0, holds),
            ("paint beside one number", paint, least_paint, 2.0, holds),
            ("change beside one number", change, least_change, 3.0, holds),
        ]
    )


def _least(folder: Path) -> Service:
    """Return a page that shows one number."""
    (folder / "least.py").write_text(LEAST)
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(folder / "least.py"), "--server.port", str(port)]
    command += ["--server.address", "127.0.0.1", "--server.fileWatcherType", "none", "--server.headless", "true"]
    return Service(command, f"http://127.0.0.1:{port}/_stcore/health", folder / "least.log", None, PROJECT)


def _visit(browser: Browser, url: str, shown: str) -> tuple[float, list[float]]:
    """Open a page as somebody new; return the seconds until it is drawn, and the milliseconds of each change."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(shown)
    paint = time.perf_counter() - begun
    slider = page.get_by_role("slider", name="alcohol").first
    changes = [_change(page, slider, key, shown) for key in ("End", "Home") * CHANGES][:CHANGES]
    context.close()
    return paint, changes


def _change(page: Page, slider: Locator, key: str, shown: str) -> float:
    """Move the slider of a page at rest to one of its ends; return the milliseconds until what is shown is another."""
    page.get_by_test_id("stApp").and_(page.locator("[data-test-script-state=notRunning]")).wait_for()
    before = page.locator(shown).first.text_content()
    begun = time.perf_counter()
    slider.press(key)
    page.wait_for_function(CHANGED, arg=[shown, before])
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    sys.exit(main())
