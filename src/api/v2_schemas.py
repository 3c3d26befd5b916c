"""The objects of the Open Inference Protocol, named and spelt as in the specification's own OpenAPI file.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/open_inference_rest.yaml
"""

from typing import Any

from pydantic import BaseModel

from src.core.wine import EXAMPLE

Tensor = list[Any]  # flat, or as nested as its shape
Parameters = dict[str, str | float | bool]


class metadata_server_response(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class metadata_tensor(BaseModel):
    """A tensor that a model takes or gives; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class metadata_model_response(BaseModel):
    """What a model takes and gives; the version is the release."""

    name: str
    versions: list[str] = []
    platform: str
    inputs: list[metadata_tensor] = []
    outputs: list[metadata_tensor] = []


class request_input(BaseModel):
    """A tensor of the request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: Tensor


class request_output(BaseModel):
    """A tensor that the answer is to hold."""

    name: str
    parameters: Parameters = {}


class inference_request(BaseModel):
    """Rows to predict."""

    model_config = {
        "json_schema_extra": {
            "example": {
                "inputs": [
                    {
                        "name": "features",
                        "shape": [1, len(EXAMPLE)],
                        "datatype": "FP32",
                        "data": list(EXAMPLE.values()),
                    }
                ]
            }
        }
    }

    id: str = ""
    parameters: Parameters = {}
    inputs: list[request_input]
    outputs: list[request_output] = []


class response_output(BaseModel):
    """A tensor of the answer."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: Tensor


class inference_response(BaseModel):
    """Predictions, and the release that they come from."""

    model_name: str
    model_version: str = ""
    id: str = ""
    parameters: Parameters = {}
    outputs: list[response_output]


class inference_error_response(BaseModel):
    """What went wrong."""

    error: str
