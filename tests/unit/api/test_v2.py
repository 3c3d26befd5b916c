"""The Open Inference Protocol, by a ready in the same process, from a release in a real bucket."""

import json
import struct
from typing import Any
from unittest.mock import patch

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from src.api.app import app
from src.core.pointer import Pointer
from src.core.wine import EXAMPLE, FEATURES
from tests.unit.api.conftest import limits

INFER = "/v2/models/wine/infer"
WINE = list(EXAMPLE.values())
OTHER = [wine * 0.95 for wine in WINE]
BINARY = "inference-header-content-length"


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "features", "shape": [2, 11], "datatype": "FP32", "data": WINE + OTHER} | changed


def ask(ready: TestClient, *inputs: Any, **rest: Any) -> dict[str, Any]:
    answer = ready.post(INFER, json={"inputs": list(inputs), **rest})
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def rejection(answer: httpx2.Response, status: int = 400) -> str:
    """Return what an answer says went wrong, in the protocol's form."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    error: str = answer.json()["error"]
    return error


def test_a_tensor_of_rows_is_answered_with_labels_and_probabilities(ready: TestClient, shared_release: Pointer) -> None:
    answer = ask(ready, tensor(), id="42")
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("wine", shared_release.id, "42")
    label, probabilities = answer["outputs"]
    assert (label["name"], label["datatype"], label["shape"]) == ("label", "INT64", [2])
    assert (probabilities["name"], probabilities["datatype"], probabilities["shape"]) == (
        "probabilities",
        "FP32",
        [2, 6],
    )
    one = ready.post("/predict", json=EXAMPLE).json()
    assert label["data"][0] == one["predicted_quality"]
    assert probabilities["data"][:6] == pytest.approx(list(one["probabilities"].values()), abs=1e-6)


def test_without_an_id_none_is_given(ready: TestClient) -> None:
    assert "id" not in ask(ready, tensor())


@pytest.mark.parametrize(
    "same",
    [
        [tensor(data=[WINE, OTHER])],
        [tensor(datatype="FP64")],
        [
            {"name": one.field, "shape": [2], "datatype": "FP64", "data": [value, value * 0.95]}
            for one, value in zip(FEATURES, WINE, strict=True)
        ],
        [
            {"name": one.name, "shape": [2, 1], "datatype": "FP32", "data": [[value], [value * 0.95]]}
            for one, value in reversed(list(zip(FEATURES, WINE, strict=True)))
        ],
    ],
)
def test_the_same_rows_in_another_form_have_the_same_answer(ready: TestClient, same: list[Any]) -> None:
    assert ask(ready, *same) == ask(ready, tensor())


def test_the_outputs_that_are_asked_for_are_given(ready: TestClient) -> None:
    (output,) = ask(ready, tensor(), outputs=[{"name": "probabilities"}])["outputs"]
    assert output["name"] == "probabilities"


@pytest.mark.parametrize(("datatype", "code"), [("FP32", "f"), ("FP64", "d")])
@pytest.mark.parametrize("asked", [{"parameters": {"binary_data_output": True}}, "each"])
def test_tensors_may_be_binary_both_ways(ready: TestClient, datatype: str, code: str, asked: Any) -> None:
    data = struct.pack(f"<22{code}", *WINE, *OTHER)
    one = {"name": "features", "shape": [2, 11], "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
    names = [{"name": "label"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [one], **({"outputs": names} if asked == "each" else asked)}).encode()
    answer = ready.post(INFER, content=head + data, headers={BINARY: str(len(head))})
    length = int(answer.headers[BINARY])
    label, probabilities = json.loads(answer.content[:length])["outputs"]
    plain_label, plain = ask(ready, tensor())["outputs"]
    rest = answer.content[length:]
    if asked != "each":
        assert label["parameters"]["binary_data_size"] == 16
        assert np.frombuffer(rest[:16], "<i8").tolist() == plain_label["data"]
        rest = rest[16:]
    else:
        assert label["data"] == plain_label["data"]
    assert probabilities["parameters"]["binary_data_size"] == len(rest)
    assert np.frombuffer(rest, "<f4").tolist() == pytest.approx(plain["data"], abs=1e-6)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `inputs`"),
        ({"inputs": 3}, "Expected `array`, got `int` - at `$.inputs`"),
        ({"inputs": []}, "expected one tensor of shape [n, 11], or 11"),
        ({"inputs": [3]}, "Expected `object`, got `int` - at `$.inputs[0]`"),
        ({"id": 3, "inputs": [tensor()]}, "Expected `str`, got `int` - at `$.id`"),
        ({"inputs": [tensor(shape=[3, 11])]}, "holds 22 numbers, its shape is [3, 11]"),
        ({"inputs": [tensor(shape=[0, 11], data=[])]}, "Expected `int` >= 1"),
        ({"inputs": [tensor(shape=[0, 2**63], data=[])]}, "Expected `int` >= 1"),
        ({"inputs": [tensor(shape=[11, 2])]}, "expected one tensor"),
        ({"inputs": [tensor(shape=[-2, -11])]}, "Expected `int` >= 1"),
        ({"inputs": [tensor(shape=[True, 11], data=WINE)]}, "Expected `int`, got `bool`"),
        ({"inputs": [tensor(datatype="BYTES")]}, "has datatype 'BYTES', expected FP32 or FP64"),
        ({"inputs": [tensor(data=["a"] * 22)]}, "holds what is not a number"),
        ({"inputs": [tensor(data=[True] * 22)]}, "holds what is not a number"),
        ({"inputs": [tensor(data=[10**30] * 22)]}, "holds what is not a number"),
        ({"inputs": [tensor(data=[WINE, 3])]}, "holds 12 numbers"),
        ({"inputs": [tensor(data=3)]}, "holds 0 numbers"),
        ({"inputs": [tensor(data={})]}, "holds 0 numbers"),
        ({"inputs": [tensor(shape=[1] * 99 + [11])]}, "Expected `array` of length <= 2"),
        ({"inputs": [tensor(shape=[2**62, 11])]}, "Expected `int` <= 2147483648"),
        ({"inputs": [tensor(parameters={"binary_data_size": "x" * 99})]}, f"has {'x' * 20} bytes"),
        ({"inputs": [tensor(parameters={"a": {}})]}, "got `object` - at `$.inputs[0].parameters[...]`"),
        (b'{"x": ' + b"[" * 100_000, "not JSON: maximum recursion depth"),
        (b'{"id": "\xff", "inputs": []}', "not JSON"),
        ({"inputs": [tensor(name="pH", shape=[2], data=[3, 3])]}, "expected one tensor"),
        ({"inputs": [tensor()], "outputs": [{"name": "colour"}]}, "output 'colour' is unknown"),
        ({"inputs": [tensor(parameters={"binary_data_size": 88})]}, "takes 88, and 0 are left"),
    ],
)
def test_what_is_not_of_the_protocol_is_told_in_its_own_form(ready: TestClient, bad: Any, words: str) -> None:
    body = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    assert words in rejection(ready.post(INFER, content=body))


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        (8, -0.1, "row 1: pH: -0.1, expected 1 to 7"),
        (10, 1e30, "row 1: alcohol: 1e+30"),
        (0, 1e300, "acidity: inf"),
    ],
)
def test_what_predict_rejects_is_named_by_row_and_feature(
    ready: TestClient, column: int, value: float, fault: str
) -> None:
    bad = OTHER[:column] + [value] + OTHER[column + 1 :]
    assert fault in rejection(ready.post(INFER, json={"inputs": [tensor(data=WINE + bad)]}))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_named_where_binary_tensors_can_spell_it(ready: TestClient, value: float) -> None:
    data = np.array([WINE, OTHER, WINE[:5] + [value] + WINE[6:]] * 1000, "<f4").tobytes()
    one = {"name": "x", "shape": [3000, 11], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [one]}).encode()
    error = rejection(ready.post(INFER, content=head + data, headers={BINARY: str(len(head))}))
    assert error.startswith(f"row 2: free_sulfur_dioxide: {value}, expected 0 to")
    assert error.count("row") == 10


@pytest.mark.parametrize("length", [b"-1", b"99999", b"9" * 5000, b"x", "²".encode()])
def test_a_length_that_cannot_be_is_rejected(ready: TestClient, length: bytes) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    assert "content-length" in rejection(ready.post(INFER, content=body, headers={BINARY.encode(): length}))


def test_bytes_that_no_tensor_names_are_rejected(ready: TestClient) -> None:
    body = json.dumps({"inputs": [tensor()]}).encode()
    answer = ready.post(INFER, content=body + b"1234", headers={BINARY: str(len(body))})
    assert rejection(answer) == "4 bytes follow the last binary tensor"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/beer", "model 'beer' is unknown, expected 'wine'"),
        ("/v2/models/beer/ready", "unknown"),
        ("/v2/models/wine/versions/1", "version '1' is not served"),
        ("/v2/models/wine/versions/1/ready", "not served"),
        ("/v2/nothing", "there is no GET /v2/nothing"),
    ],
)
def test_another_model_or_version_is_not_found(ready: TestClient, path: str, words: str) -> None:
    assert words in rejection(ready.get(path), 404)


def test_the_release_is_the_version(ready: TestClient, shared_release: Pointer) -> None:
    place = f"/v2/models/wine/versions/{shared_release.id}"
    body = {"inputs": [tensor()]}
    assert ready.post(f"{place}/infer", json=body).json() == ready.post(INFER, json=body).json()
    assert ready.get(f"{place}/ready").json() == {"name": "wine", "ready": True}
    assert ready.get(place).json()["versions"] == [shared_release.id]
    assert rejection(ready.post("/v2/models/wine/versions/0/infer", json=body), 404)


def test_server_and_model_say_what_they_are(ready: TestClient) -> None:
    assert ready.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert ready.get("/v2/health/live").json() == {"live": True}
    assert ready.get("/v2/health/ready").json() == {"ready": True}
    model = ready.get("/v2/models/wine").json()
    assert model["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 11]}]
    assert [(one["name"], one["shape"]) for one in model["outputs"]] == [("label", [-1]), ("probabilities", [-1, 6])]


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE"])
def test_a_method_that_no_path_knows_is_rejected_in_the_protocol_s_form(ready: TestClient, method: str) -> None:
    answer = ready.request(method, INFER)
    assert answer.status_code == 405 and answer.headers["content-type"] == "application/json"
    assert method == "HEAD" or answer.json() == {"error": "Method Not Allowed"}


def test_a_server_that_leaves_or_has_no_release_is_not_ready(ready: TestClient) -> None:
    app.state.is_leaving = True
    assert "about to stop" in rejection(ready.get("/v2/health/ready"))
    app.state.is_leaving = False
    champion = app.state.champion
    with patch.object(champion, "live", None):
        assert rejection(ready.get("/v2/health/ready"))
        assert rejection(ready.get("/v2/models/wine/ready"), 503)
        assert rejection(ready.post(INFER, json={"inputs": [tensor()]}), 503)


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_body_that_is_too_large_is_rejected_in_the_protocol_s_form(ready: TestClient, in_chunks: bool) -> None:
    body = json.dumps({"inputs": [tensor()]}).ljust(5001).encode()
    with limits(batch_bytes=5000):
        answer = ready.post(INFER, content=iter([body[:1000], body[1000:]]) if in_chunks else body)
    assert rejection(answer, 413) == "the body is larger than 5,000 bytes"


def test_many_rows_are_counted_and_answered_as_they_are_alone(ready: TestClient, shared_release: Pointer) -> None:
    def count() -> float:
        lines = [line for line in ready.get("/metrics").text.splitlines() if f'release="{shared_release.id}"' in line]
        return sum(float(line.split()[1]) for line in lines if line.startswith("wine_predictions_total{"))

    before = count()
    alone = ask(ready, tensor())["outputs"][1]["data"]
    many = ask(ready, tensor(shape=[5000, 11], data=(WINE + OTHER) * 2500))["outputs"][1]["data"]
    assert many == pytest.approx(alone * 2500, abs=1e-6)
    assert count() == before + 5002


def test_the_documentation_has_the_specification_s_objects(ready: TestClient) -> None:
    openapi = ready.get("/openapi.json").json()
    schemas = openapi["components"]["schemas"]
    fields = {
        "metadata_server_response": "name version extensions",
        "metadata_model_response": "name versions platform inputs outputs",
        "metadata_tensor": "name datatype shape",
        "inference_request": "id parameters inputs outputs",
        "request_input": "name shape datatype parameters data",
        "request_output": "name parameters",
        "inference_response": "model_name model_version id parameters outputs",
        "response_output": "name shape datatype parameters data",
        "inference_error_response": "error",
    }
    assert {name: " ".join(schemas[name]["properties"]) for name in fields} == fields
    assert schemas["inference_request"]["required"] == ["inputs"]
    infer = openapi["paths"]["/v2/models/{model_name}/versions/{model_version}/infer"]["post"]
    assert [one["name"] for one in infer["parameters"]] == ["model_name", "model_version"]
    assert infer["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/inference_request")
    assert ask(ready, *schemas["inference_request"]["example"]["inputs"])["outputs"][0]["data"] == [5]
