"""Clients that other projects wrote for the Open Inference Protocol ask a real ``python -m src.api``, unmodified."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from src.core.pointer import Pointer
from src.core.wine import EXAMPLE
from tests.integration.test_api_limits import running
from tests.support.peers import install
from tests.support.services import Service, eventually

TRITON = "tritonclient[http]==2.73.0"
MLSERVER = "mlserver==1.7.1"
WINE = list(EXAMPLE.values())
ASK = """
import json, sys
import numpy as np
from tritonclient.http import InferenceServerClient, InferenceServerException, InferInput, InferRequestedOutput

client = InferenceServerClient(sys.argv[1])
wines = np.array([json.loads(sys.argv[2])] * 3, np.float32)
answers = []
for binary_in in (True, False):
    for outputs in (None, True, False):
        one = InferInput("features", wines.shape, "FP32")
        one.set_data_from_numpy(wines, binary_data=binary_in)
        names = outputs is not None and [InferRequestedOutput("probabilities", binary_data=outputs)] or None
        answer = client.infer("wine", [one], request_id="42", outputs=names)
        labels = answer.as_numpy("label")
        answers.append([
            answer.get_response()["id"], answer.get_response()["model_version"],
            None if labels is None else labels.tolist(), answer.as_numpy("probabilities").tolist(),
        ])
try:
    client.infer("beer", [one])
except InferenceServerException as error:
    rejected = [error.status(), error.message()]
print(json.dumps({
    "answers": answers, "rejected": rejected, "live": client.is_server_live(), "ready": client.is_server_ready(),
    "model": client.is_model_ready("wine", answers[0][1]), "server": client.get_server_metadata(),
    "metadata": client.get_model_metadata("wine"),
}))
"""


@pytest.fixture(scope="module")
def api(shared_release: Pointer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the API with a release."""
    with running(tmp_path_factory.mktemp("api")) as api:
        eventually(lambda: httpx.get(api.url.replace("liveness", "readiness")).is_success)
        yield api


def predict(api: Service) -> tuple[str, int, list[float]]:
    answer = httpx.post(api.url.replace("liveness", "predict"), json=EXAMPLE).json()
    return answer["release"], answer["predicted_quality"], list(answer["probabilities"].values())


def test_tritonclient_gets_the_answers_of_predict(api: Service) -> None:
    python = install(TRITON) / "python"
    address = api.url.removeprefix("http://").removesuffix("/liveness")
    command = [str(python), "-c", ASK, address, json.dumps(WINE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    release, label, probabilities = predict(api)
    assert len(told["answers"]) == 6
    for number, (identifier, version, labels, rows) in enumerate(told["answers"]):
        assert (identifier, version) == ("42", release)
        assert labels == (None if number % 3 else [label] * 3)
        assert [row == pytest.approx(probabilities, abs=1e-6) for row in rows] == [True] * 3
    assert told["rejected"] == ["404", "model 'beer' is unknown, expected 'wine'"]
    assert told["live"] and told["ready"] and told["model"]
    assert told["server"]["extensions"] == ["binary_tensor_data"]
    assert told["metadata"]["versions"] == [release]


def test_mlserver_infer_gets_the_answers_of_predict(api: Service, tmp_path: Path) -> None:
    programs = install(MLSERVER)
    one = {"inputs": [{"name": "features", "shape": [1, 11], "datatype": "FP32", "data": WINE}]}
    (tmp_path / "wines").write_text("".join(f"{json.dumps({'id': str(number), **one})}\n" for number in range(20)))
    address = api.url.removeprefix("http://").removesuffix("/liveness")
    command = [str(programs / "mlserver"), "infer", "--url", address, "--model-name", "wine", "--batch-size", "4"]
    command += ["--input-data-path", str(tmp_path / "wines"), "--output-data-path", str(tmp_path / "answers")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (tmp_path / "answers").read_text().splitlines()]
    release, label, probabilities = predict(api)
    assert sorted(int(answer["id"]) for answer in answers) == list(range(20))
    for answer in answers:
        assert (answer["model_name"], answer["model_version"]) == ("wine", release)
        labels, rows = answer["outputs"]
        assert labels["data"] == [label] and rows["data"] == pytest.approx(probabilities, abs=1e-6)
