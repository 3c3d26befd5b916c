"""``make bench-peers``: the prediction service beside MLServer, which serves the same ONNX file through V2.

MLServer is installed in an environment of its own, and runs as it is fastest here: one process, no parallel workers.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.api import OURS, measure_in_turns, report
from bench.load import keep_release, memory, missing, new_environment, running, server
from src.core.wine import EXAMPLE, FEATURES

PACKAGES = ("mlserver==1.7.1", "onnxruntime", "numpy", "setuptools<81")
RUNTIME = """
import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec


class Wine(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec).astype(np.float32)
        found = self.session.run(None, {"features": rows})
        outputs = [NumpyCodec.encode_output(name, part) for name, part in zip(("label", "probabilities"), found)]
        from mlserver.types import InferenceResponse
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""
TENSOR = {"name": "features", "shape": [1, len(FEATURES)], "datatype": "FP32", "data": [*EXAMPLE.values()]}
BODIES = {"ours": json.dumps(EXAMPLE), "MLServer": json.dumps({"inputs": [TENSOR]})}


def main() -> int:
    """Measure and print; returns 1 where the target is missed."""
    if lacking := missing():
        print(f"make bench-peers: install {lacking}", file=sys.stderr)
        return 1
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = keep_release(folder / "cache")
        _write_peer(folder / "peer", model)
        python = new_environment(folder / "mlserver", *PACKAGES)
        ours = server(Path(sys.executable), OURS, folder)
        peer = server(
            python, ["-m", "mlserver.cli.main", "start", "."], folder, "/v2/models/wine/infer", folder / "peer"
        )
        settings = {"http_port": int(peer.url.split(":")[2].split("/")[0]), "grpc_port": 0, "metrics_port": 0}
        (folder / "peer" / "settings.json").write_text(json.dumps(settings | {"parallel_workers": 0, "debug": False}))
        with running(ours, peer):
            loads = measure_in_turns({"ours": ours.url, "MLServer": peer.url}, BODIES.__getitem__)
            sizes = {"ours": memory(ours), "MLServer": memory(peer)}
    for name, load in loads.items():
        print(
            f"{name:10}{load.rate:9,.0f} requests/s, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms, {sizes[name]:.0f} MB"
        )
    return report([("beside MLServer", loads["ours"].rate, loads["MLServer"].rate, 15.0, float.__ge__)])


def _write_peer(folder: Path, model: bytes) -> None:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "runtime.py").write_text(RUNTIME)
    (folder / "model-settings.json").write_text(json.dumps({"name": "wine", "implementation": "runtime.Wine"}))


if __name__ == "__main__":
    sys.exit(main())
