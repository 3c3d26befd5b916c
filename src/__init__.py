"""The wine-quality stack: pure modules inside, services at the edges."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime marks the machine and reports as it is imported
