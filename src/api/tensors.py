"""Tensors of the Open Inference Protocol: the rows of a request, and the bytes of its answer.

simdjson reads a flat tensor of numbers straight into memory: 11,000 numbers in 0.10 ms, where msgspec makes a list of
them in 0.18 and a tensor of that in 0.05; orjson writes numpy's float32 as short as they are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    if length is not None and not (length.isascii() and length.isdigit() and int(length) <= len(body)):
        raise TensorError(f"the header {LENGTH} is {length[:20]!r}, expected a number up to the body's {len(body)}")
    end = len(body) if length is None else int(length)
    try:
        request = simdjson.Parser().parse(body[:end])
    except (ValueError, RuntimeError) as error:
        raise TensorError(f"the body is not JSON: {error}") from error
    if not isinstance(request, simdjson.Object):
        raise TensorError("the body is no JSON object")
    tensors, rest = [], memoryview(body)[end:]
    for one in _get(request, "inputs", simdjson.Array):
        name, tensor, rest = _read_tensor(_expect("an input", one, simdjson.Object), rest)
        tensors.append((name, tensor))
    if len(rest):
        raise TensorError(f"{len(rest)} bytes follow the last binary tensor")
    identifier = _get(request, "id", str) if "id" in request else None
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


def _read_tensor(one: Any, rest: memoryview) -> tuple[str, np.ndarray, memoryview]:
    """Return a tensor with its name, and the binary data after its own."""
    name = _get(one, "name", str)
    where = f"input {name[:50]!r}"
    datatype = DATATYPES.get(kind := _get(one, "datatype", str))
    if datatype is None:
        raise TensorError(f"{where} has datatype {kind[:20]!r}, expected {' or '.join(DATATYPES)}")
    shape = list(_get(one, "shape", simdjson.Array))
    if not all(type(size) is int and size >= 0 for size in shape):
        raise TensorError(f"{where} has a shape that is not of whole numbers")
    count, parameters = math.prod(shape), _parameters(one)
    if "binary_data_size" in parameters:
        size = _get(parameters, "binary_data_size", int)
        if size != count * int(datatype[-1]) or size > len(rest):
            expected = f"its shape takes {count * int(datatype[-1])}, and {len(rest)} are left"
            raise TensorError(f"{where} has {size} bytes of binary data; {expected}")
        tensor, rest = np.frombuffer(rest[:size], datatype), rest[size:]
    else:
        try:
            tensor = np.frombuffer(_get(one, "data", simdjson.Array).as_buffer(of_type="d"))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TensorError(f"{where} holds what is not a number") from error
        if len(tensor) != count:
            raise TensorError(f"{where} holds {len(tensor)} numbers, its shape is {shape}")
    return name, tensor.reshape(shape), rest


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
    if rows is None or not len(rows):
        names = ", ".join(feature.field for feature in FEATURES)
        raise TensorError(f"expected one tensor of shape [n, {width}], or {width} of shape [n] or [n, 1]: {names}")
    return rows


def _read_outputs(request: Any) -> dict[str, bool]:
    """Return the outputs that are asked for, all where none is named; says for each whether it is to be binary."""
    binary = _parameters(request).get("binary_data_output", False) is True
    if "outputs" not in request:
        return dict.fromkeys(OUTPUTS, binary)
    outputs = {}
    for one in _get(request, "outputs", simdjson.Array):
        name = _get(_expect("an output", one, simdjson.Object), "name", str)
        if name not in OUTPUTS:
            raise TensorError(f"output {name[:50]!r} is unknown, expected {' or '.join(OUTPUTS)}")
        wanted = _parameters(one)
        outputs[name] = wanted.get("binary_data", wanted.get("binary_data_output", binary)) is True
    return outputs or dict.fromkeys(OUTPUTS, binary)


def _parameters(one: Any) -> Any:
    parameters = _get(one, "parameters", simdjson.Object) if "parameters" in one else {}
    for name in parameters:
        if not isinstance(parameters[name], str | int | float):
            raise TensorError(f"parameter {name[:50]!r} is no string, number or boolean")
    return parameters


def _get(one: Any, key: str, kind: type) -> Any:
    try:
        value = one[key]
    except KeyError:
        raise TensorError(f"{key} is missing") from None
    return _expect(key, value, kind)


def _expect(what: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        kinds = {simdjson.Array: "an array", simdjson.Object: "an object", str: "a text", int: "a whole number"}
        raise TensorError(f"{what} is not {kinds[kind]}")
    return value
