"""The wine-quality stack: pure modules inside, services at the edges."""

import os
import sys
from importlib.util import find_spec

__version__ = "1.6.0"
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime marks the machine and reports as it is imported
if sys.argv[0] == "-m" and not find_spec("onnxruntime"):  # python -m, by a Python that is not the project's
    command = next(word.removeprefix("-m") for word in sys.orig_argv if "src." in word)
    sys.exit(f"{command} needs the project's packages; run: .venv/bin/python -m {command}")
