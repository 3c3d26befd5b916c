"""``make screenshots``: a stack of its own, a successful run, and the pictures that README and docs show.

The terminal's picture plays the real lines of ``make up`` at the moments at which they came.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, ViewportSize, expect

from local.airflow_client import DAG, Airflow
from local.env import read_env
from src.config import PROJECT
from src.settings import StackSettings
from tests.support.newcomer import open_page
from tests.support.throwaway import Checkout, choose_ports, throwaway_checkout

FOLDER = PROJECT / "assets" / "img"
SIZE: ViewportSize = {"width": 1280, "height": 720}
AIRFLOW = {"graph": "Airflow_dags_success_graph.png", "grid": "Airflow_dags_success_table.png"}
OTHERS = "tests/integration/test_views.py::test_each_view_has_its_picture"  # of those that are empty on a new stack
FLAT: ViewportSize = {"width": 1280, "height": 420}  # of a graph that is one line
WIDTH, LINE, MARGIN = 920, 19, 16  # pixels
LONGEST = 108  # characters of a line that fit
PATIENCE = 300_000  # milliseconds
REST = 6  # seconds that the last line stands before the picture begins anew

Shown = list[tuple[float, str]]  # lines, each with the second at which it came


def main() -> int:
    """Take every picture; returns the exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with throwaway_checkout() as checkout:
        choose_ports(checkout)
        print("starting a stack of its own ...", flush=True)
        lines = start(checkout)
        settings, _ = read_env(checkout.folder / ".env")
        (FOLDER / "first-minute.svg").write_text(animate(hide(lines, settings)))
        take_airflow(settings)
        take_page(settings)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", OTHERS]
    subprocess.run(command, cwd=PROJECT, env=os.environ | {"PICTURES": str(FOLDER)}, check=True)
    for file in sorted(FOLDER.iterdir()):
        print(f"{file.relative_to(PROJECT)}  {file.stat().st_size / 1000:,.0f} kB")
    return 0


def start(checkout: Checkout) -> Shown:
    """Run ``make up`` and return what it printed."""
    began, lines = time.monotonic(), [(0.0, "$ make up")]
    command, own = ["make", "up"], {name: one for name, one in os.environ.items() if not name.startswith("MAKE")}
    with subprocess.Popen(command, cwd=checkout.folder, env=own, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append((time.monotonic() - began, line.rstrip()))
    if process.returncode:
        sys.exit(process.returncode)
    return lines


def hide(lines: Shown, settings: StackSettings) -> Shown:
    """Leave the password out, and show the ports that a first start has."""
    password = settings.airflow_password.get_secret_value()
    for key, port in settings.ports.items():
        first = StackSettings.model_fields[key.lower()].default
        lines = [(second, line.replace(f":{port}", f":{first}")) for second, line in lines]
    lines = [(second, line.replace(password, "…")) for second, line in lines]
    return [(second, line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…") for second, line in lines]


def animate(lines: Sequence[tuple[float, str]]) -> str:
    """Return an SVG in which each line appears at its second, and which begins anew after the last."""
    whole = lines[-1][0] + REST
    height = 2 * MARGIN + LINE * len(lines)
    texts = []
    for number, (second, line) in enumerate(lines):
        share = second / whole
        values, times = ("1", "0") if not share else ("0;1;1", f"0;{share:.4f};1")
        played = f'<animate attributeName="opacity" dur="{whole:.1f}s" repeatCount="indefinite" calcMode="discrete"'
        texts.append(
            f'<text x="{MARGIN}" y="{MARGIN + LINE * (number + 0.8):.0f}" xml:space="preserve">{escape(line)}'
            f'{played} values="{values}" keyTimes="{times}"/></text>'
        )
    shown = "\n".join(texts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="13.5" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" fill="#24292f">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#f6f8fa"/>\n{shown}\n</svg>\n'
    )


def take_airflow(settings: StackSettings) -> None:
    """Take Airflow's graph and grid of the last run, which was successful."""
    url = f"http://127.0.0.1:{settings.airflow_port}"
    with Airflow.of(settings) as airflow:
        airflow.is_ready()
        run = next(iter(airflow.runs()))
    with open_page() as page:
        page.set_viewport_size(SIZE)
        page.set_default_timeout(PATIENCE)
        page.goto(url, wait_until="networkidle")
        page.get_by_role("textbox", name="username").fill(settings.airflow_user)
        page.locator("input[type=password]").fill(settings.airflow_password.get_secret_value())
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_hidden()
        for view, file in AIRFLOW.items():
            page.evaluate(f"localStorage.setItem('default_dag_view', '\"{view}\"')")
            page.set_viewport_size(FLAT if view == "graph" else SIZE)
            page.goto(f"{url}/dags/{DAG}/runs/{run}")
            expect(page.get_by_text("update_model").first).to_be_visible(timeout=PATIENCE)
            if view == "graph":
                page.get_by_role("button", name="Collapse").first.click()
                settle(page)
                page.get_by_role("button", name="Fit View").click()
                page.add_style_tag(content=".react-flow__minimap { display: none }")  # it covers the last task
            settle(page)
            page.screenshot(path=FOLDER / file)


def take_page(settings: StackSettings) -> None:
    """Take the views of one wine and of many."""
    with open_page() as page, TemporaryDirectory() as folder:
        page.set_viewport_size(SIZE)
        page.set_default_timeout(PATIENCE)
        page.goto(f"http://127.0.0.1:{settings.front_port}")
        expect(page.locator(".st-key-answer h2")).to_be_visible(timeout=PATIENCE)
        settle(page)
        page.screenshot(path=FOLDER / "page-predict.png")
        page.get_by_role("link", name="Many wines").click()
        (table,) = (path for path in (PROJECT / "assets/bootstrap/files").rglob("*") if path.stat().st_size > 50_000)
        page.locator("input[type=file]").set_input_files(shutil.copyfile(table, Path(folder) / "wines.csv"))
        expect(page.get_by_text("1,599 predictions by release")).to_be_visible(timeout=PATIENCE)
        settle(page)
        page.screenshot(path=FOLDER / "page-many.png", full_page=True)


def settle(page: Page) -> None:
    """Wait until two pictures, a moment apart, are the same."""
    before = b""
    while before != (before := page.screenshot()):
        page.wait_for_timeout(700)


if __name__ == "__main__":
    sys.exit(main())
