"""``make bench-peers``: the prediction service beside MLServer, BentoML and mlflow, which serve the same ONNX file.

It also counts what each installs, and what the drift library evidently installs.

Each is installed in an environment of its own and runs as one process that serves; what each does with a wine is the
same: rows of float32 through onnxruntime, labels and probabilities out.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.api import OURS, measure_in_turns, report
from bench.load import (
    API_PACKAGES,
    keep_release,
    measure_packages,
    memory,
    missing,
    new_environment,
    running,
    server,
)
from src.core.wine import EXAMPLE, FEATURES
from tests.support.services import Service

EVIDENTLY, DRIFT = "evidently", ("evidently==0.7.23", "pandas<3")
ROW = [*EXAMPLE.values()]
SESSION = """
import numpy as np
import onnxruntime


def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
"""


@dataclass(frozen=True)
class Peer:
    """A server of models: its packages, the files it serves from, its command, and how it is asked for one wine."""

    packages: tuple[str, ...]
    files: dict[str, str]
    arguments: tuple[str, ...]
    path: str
    body: Any
    settings: tuple[tuple[str, str], ...] = ()


PEERS = {
    "MLServer": Peer(
        ("mlserver==1.7.1", "onnxruntime", "numpy", "setuptools<81"),
        {
            "settings.json": '{"http_port": PORT, "grpc_port": 0, "metrics_port": 0, '
            '"parallel_workers": 0, "debug": false}',
            "model-settings.json": '{"name": "wine", "implementation": "runtime.Wine"}',
            "runtime.py": SESSION
            + """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Wine(MLModel):
    async def load(self):
        self.session = load("model.onnx")
        return True

    async def predict(self, payload):
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec).astype(np.float32)
        found = self.session.run(None, {"features": rows})
        outputs = [NumpyCodec.encode_output(name, part) for name, part in zip(("label", "probabilities"), found)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
""",
        },
        ("-m", "mlserver.cli.main", "start", "."),
        "/v2/models/wine/infer",
        {"inputs": [{"name": "features", "shape": [1, len(FEATURES)], "datatype": "FP32", "data": ROW}]},
    ),
    "BentoML": Peer(
        ("bentoml==1.4.40", "onnxruntime", "numpy"),
        {
            "runtime.py": SESSION
            + """
import bentoml


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Wine:
    def __init__(self):
        self.session = load("model.onnx")

    @bentoml.api
    def predict(self, rows: list[list[float]]) -> dict:
        label, probabilities = self.session.run(None, {"features": np.array(rows, np.float32)})
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}
""",
        },
        ("-m", "bentoml", "serve", "runtime:Wine", "--host", "127.0.0.1", "--port", "PORT"),
        "/predict",
        {"rows": [ROW]},
        (("BENTOML_DO_NOT_TRACK", "True"),),
    ),
    "mlflow": Peer(
        ("mlflow==3.17.2", "onnxruntime", "numpy"),
        {
            "MLmodel": "flavors:\n  python_function:\n    loader_module: runtime\n    code: .\n",
            "runtime.py": SESSION
            + """

class Wine:
    def __init__(self, session):
        self.session = session

    def predict(self, rows):
        label, probabilities = self.session.run(None, {"features": np.asarray(rows, np.float32)})
        return {"label": label.tolist(), "probabilities": probabilities.tolist()}


def _load_pyfunc(path):
    return Wine(load("model.onnx"))
""",
        },
        ("-m", "uvicorn", "mlflow.pyfunc.scoring_server.app:app", "--no-access-log", "--port", "PORT"),
        "/invocations",
        {"inputs": [ROW]},
        (("__pyfunc_model_path__", "."), ("MLFLOW_DISABLE_TELEMETRY", "true")),
    ),
}


def main() -> int:
    """Measure and print; returns 1 where a target is missed."""
    if lacking := missing():
        print(f"make bench-peers: install {lacking}", file=sys.stderr)
        return 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = keep_release(folder / "cache")
        packages = {"ours": API_PACKAGES} | {name: peer.packages for name, peer in PEERS.items()} | {EVIDENTLY: DRIFT}
        pythons = {name: new_environment(folder / f"{name}-packages", *what) for name, what in packages.items()}
        for name, python in pythons.items():
            count, megabytes = measure_packages(python)
            print(f"{name:10}{count} packages, {megabytes:.0f} MB")
        servers = {"ours": server(pythons["ours"], OURS, folder)}
        servers |= {name: _prepare(folder, name, python, model) for name, python in pythons.items() if name in PEERS}
        bodies = {"ours": json.dumps(EXAMPLE)} | {name: json.dumps(peer.body) for name, peer in PEERS.items()}
        with running(*servers.values()):
            loads = measure_in_turns({name: one.url for name, one in servers.items()}, bodies.__getitem__)
            sizes = {name: memory(one) for name, one in servers.items()}
    for name, load in loads.items():
        told = f"p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms, {sizes[name]:.0f} MB"
        print(f"{name:10}{load.rate:9,.0f} requests/s, {told}")
    print(f"\n{'':26}{'ours':>10}{'limit':>10}{'ratio':>8}  target")
    return report([(f"beside {name}", loads["ours"].rate, loads[name].rate, 15.0, float.__ge__) for name in PEERS])


def _prepare(folder: Path, name: str, python: Path, model: bytes) -> Service:
    """Return a peer that has its files, ready to start."""
    peer, place = PEERS[name], folder / name
    place.mkdir()
    service = server(python, [*peer.arguments], folder, peer.path, place, {"HOME": str(place), **dict(peer.settings)})
    port = service.url.split(":")[2].split("/")[0]
    (place / "model.onnx").write_bytes(model)
    for file, content in peer.files.items():
        (place / file).write_text(content.replace("PORT", port))
    return service


if __name__ == "__main__":
    sys.exit(main())
