"""Tensors of the Open Inference Protocol: the rows of a request, and the bytes of its answer.

msgspec reads a request into its types, and simdjson the numbers of a tensor straight into memory, nested as they may
be; a list of them would take several times the body's size. orjson writes numpy's float32 as short as they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
import simdjson

from src.api.rows import COLUMNS, to_float32
from src.core.wine import FEATURES

DATATYPES = {"FP32": "<f4", "FP64": "<f8"}
OUTPUTS = {"label": "INT64", "probabilities": "FP32"}
LENGTH = "inference-header-content-length"


class TensorError(ValueError):
    """A request that is not of the protocol, or of another model."""


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, str | int | float | bool] = {}


class _Input(msgspec.Struct):
    name: str
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=2**31)]], msgspec.Meta(min_length=1, max_length=2)]
    datatype: str
    data: msgspec.Raw = msgspec.Raw(b"[]")
    parameters: dict[str, str | int | float | bool] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | msgspec.UnsetType = msgspec.UNSET
    outputs: list[_Output] = []
    parameters: dict[str, str | int | float | bool] = {}


_decoder = msgspec.json.Decoder(_Request)


@dataclass(frozen=True)
class Inference:
    """What a request asks: its id, rows (rows, features) of float32, and which outputs, binary where that is true."""

    id: str | None
    values: np.ndarray
    outputs: Mapping[str, bool]


def read_inference(body: bytes, length: str | None) -> Inference:
    """Read a request; ``length`` is that of its JSON where binary tensors follow.

    Raises:
        TensorError: says what is not as expected.

    """
    if length is not None and not (length.isdecimal() and len(length) < 20 and int(length) <= len(body)):
        raise TensorError(f"the header {LENGTH} is {length[:20]!r}, expected a number up to the body's {len(body)}")
    end = len(body) if length is None else int(length)
    try:
        request = _decoder.decode(memoryview(body)[:end])
    except msgspec.ValidationError as error:
        raise TensorError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise TensorError(f"the body is not JSON: {error}") from error
    tensors, rest = [], memoryview(body)[end:]
    for one in request.inputs:
        tensor, rest = _read_tensor(one, rest)
        tensors.append((one.name, tensor))
    if len(rest):
        raise TensorError(f"{len(rest)} bytes follow the last binary tensor")
    identifier = None if request.id is msgspec.UNSET else request.id
    return Inference(identifier, to_float32(_join(tensors)), _read_outputs(request))


def write_inference(
    model: str, version: str, asked: Inference, outputs: Mapping[str, np.ndarray]
) -> tuple[bytes, int | None]:
    """Return the answer, and the length of its JSON where binary tensors follow."""
    described, binary = [], []
    for name, is_binary in asked.outputs.items():
        tensor = outputs[name]
        one: dict[str, Any] = {"name": name, "shape": list(tensor.shape), "datatype": OUTPUTS[name]}
        if is_binary:
            binary.append(tensor.tobytes())
            one["parameters"] = {"binary_data_size": tensor.nbytes}
        else:
            one["data"] = tensor.ravel()
        described.append(one)
    identifier = {} if asked.id is None else {"id": asked.id}
    answer = {"model_name": model, "model_version": version, **identifier, "outputs": described}
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([head, *binary]), len(head)) if binary else (head, None)


def _read_tensor(one: _Input, rest: memoryview) -> tuple[np.ndarray, memoryview]:
    """Return a tensor, and the binary data after its own."""
    where = f"input {one.name[:50]!r}"
    datatype = DATATYPES.get(one.datatype)
    if datatype is None:
        raise TensorError(f"{where} has datatype {one.datatype[:20]!r}, expected {' or '.join(DATATYPES)}")
    count, size = math.prod(one.shape), one.parameters.get("binary_data_size")
    if size is not None:
        width = int(datatype[-1])
        if type(size) is not int or size != count * width or size > len(rest):
            expected = f"its shape takes {count * width}, and {len(rest)} are left"
            raise TensorError(f"{where} has {str(size)[:20]} bytes of binary data; {expected}")
        return np.frombuffer(rest[:size], datatype).reshape(one.shape), rest[size:]
    try:
        parsed = simdjson.Parser().parse(bytes(one.data))
        values = np.frombuffer(parsed.as_buffer(of_type="d") if isinstance(parsed, simdjson.Array) else b"")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TensorError(f"{where} holds what is not a number") from error
    if len(values) != count:
        raise TensorError(f"{where} holds {len(values)} numbers, its shape is {one.shape}")
    return values.reshape(one.shape), rest


def _join(tensors: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return the rows of one tensor of all features, or of one tensor a feature."""
    width = len(FEATURES)
    shapes = {tensor.shape for _, tensor in tensors}
    columns = {COLUMNS.get(name): tensor.reshape(-1) for name, tensor in tensors}
    rows: np.ndarray | None = None
    if len(tensors) == 1 and len(tensors[0][1].shape) == 2 and tensors[0][1].shape[1] == width:
        rows = tensors[0][1]
    elif len(tensors) == len(columns) == width and None not in columns and len(shapes) == 1:
        (shape,) = shapes
        if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
            rows = np.stack([columns[column] for column in range(width)], axis=1)
    if rows is None:
        names = ", ".join(feature.field for feature in FEATURES)
        raise TensorError(f"expected one tensor of shape [n, {width}], or {width} of shape [n] or [n, 1]: {names}")
    return rows


def _read_outputs(request: _Request) -> dict[str, bool]:
    """Return the outputs that are asked for, all where none is named; says for each whether it is to be binary."""
    binary = request.parameters.get("binary_data_output", False) is True
    outputs = {}
    for one in request.outputs:
        if one.name not in OUTPUTS:
            raise TensorError(f"output {one.name[:50]!r} is unknown, expected {' or '.join(OUTPUTS)}")
        wanted = one.parameters
        outputs[one.name] = wanted.get("binary_data", wanted.get("binary_data_output", binary)) is True
    return outputs or dict.fromkeys(OUTPUTS, binary)
