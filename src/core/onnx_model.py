"""An ONNX classifier in memory, loaded from bytes that a stranger may have written."""

import os
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np
import onnxruntime

from src.errors import IntegrityError

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")  # the standard operators
ENDLESS = "Loop"  # every other operator's work is bounded by its tensors' sizes

PredictRow = Callable[[Sequence[float]], tuple[int, list[float]]]


class Model:
    """An ONNX classifier in memory; it never changes, so that threads may share it."""

    def __init__(self, content: bytes) -> None:
        """Load ``content``.

        Raises:
            IntegrityError: it is not a classifier of rows of float32 into integer labels and their probabilities.

        """
        self.content = content
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Weights in files of their own are looked for in this folder, which can hold none.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no base class but this one
            raise IntegrityError(f"the model does not load: {error}") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        found = [(node.name, node.type, len(node.shape)) for node in (*inputs, *outputs)]
        expected = [("label", "tensor(int64)", 1), ("probabilities", "tensor(float)", 2)]
        if len(inputs) != 1 or found[0][1:] != ("tensor(float)", 2) or found[1:] != expected:
            raise IntegrityError(f"the model has {found}, expected one input of rows, 'label' and 'probabilities'")
        self._input = inputs[0].name

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return labels (rows,) and probabilities (rows, classes) for features (rows, features), cast to float32.

        Raises:
            IntegrityError: a probability is not a number.

        """
        labels, probabilities = self._session.run(None, {self._input: np.asarray(features, np.float32)})
        if not np.isfinite(probabilities).all():
            raise IntegrityError(f"the model gives {probabilities[:1].tolist()} for probabilities")
        return labels, probabilities

    def bind_row(self, rows: np.ndarray) -> PredictRow:
        """Return a way to predict one row in half the time, for one thread: its buffers are made and named once.

        Where it does not give the answers of :meth:`predict` for each of ``rows``, that is what is returned.
        """
        row, label = np.zeros((1, rows.shape[1]), np.float32), np.zeros(1, np.int64)
        probabilities = np.zeros_like(self.predict(rows[:1])[1])
        binding, run = self._session.io_binding(), self._session.run_with_iobinding
        binding.bind_input(self._input, "cpu", 0, row.dtype, row.shape, row.ctypes.data)
        for name, array in (("label", label), ("probabilities", probabilities)):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        def predict(values: Sequence[float]) -> tuple[int, list[float]]:
            row[0] = values
            run(binding)
            found: list[float] = probabilities[0].tolist()
            if not isfinite(sum(found)):
                raise IntegrityError(f"the model gives {found} for probabilities")
            return int(label[0]), found

        try:
            same = all(predict(one) == self._predict_row(one) for one in rows.tolist())
        except Exception:  # onnxruntime's own errors share no base class but this one
            same = False
        return predict if same else self._predict_row

    def _predict_row(self, values: Sequence[float]) -> tuple[int, list[float]]:
        labels, probabilities = self.predict(np.array([values]))
        return int(labels[0]), probabilities[0].tolist()


def inspect(content: bytes) -> None:
    """Look at the graph before anything is run of it.

    Raises:
        IntegrityError: it reads other files, may never end, or holds more than standard operators.

    """
    import onnx  # the API needs it in the trial of a release alone
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise IntegrityError(f"the model is not ONNX: {error}") from error
    if model.functions or model.training_info:
        raise IntegrityError("the model brings functions or training steps of its own, expected standard operators")
    for graph in _list_graphs(model.graph):
        for tensor in _list_tensors(graph):
            if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
                raise IntegrityError(f"the model keeps {tensor.name[:100]!r} in another file, expected all in one")
        for node in graph.node:
            if node.domain not in DOMAINS or node.op_type == ENDLESS:
                name = f"{node.domain}.{node.op_type}".lstrip(".")[:100]
                raise IntegrityError(f"the model uses {name!r}, expected standard operators but {ENDLESS}")


def _list_graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _list_graphs(inner)


def _list_tensors(graph: Any) -> Iterator[Any]:
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    sparse = [*graph.sparse_initializer]
    yield from graph.initializer
    for attribute in attributes:
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for one in sparse:
        yield from (one.values, one.indices)
