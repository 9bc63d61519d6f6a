"""Graphs with weights of eight bits: products in whole numbers, tables with a scale for each row.

In: a graph in float32. Out: one of about a quarter of its bytes, whose answers differ a little.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEWEST_ROWS = 64
"""Of a table that is worth a scale for each row."""
LARGEST = 127


def quantize(model: Any, *, products: bool) -> Any:
    """The same graph with weights in int8, but for the last layer, whose bytes are few and whose
    rounding would move every answer.

    - Products with a matrix become `MatMulInteger`, by `onnxruntime.quantization`: a scale for each
      column, inputs quantised as they come, weights of 7 bits, so that processors without VNNI do
      not overflow and a file answers alike on all of them.
    - An LSTM becomes onnxruntime's `DynamicQuantizeLSTM` likewise.
    - A GRU, for which there is no such operator, and tables of vectors keep int8 rows, each with
      its scale. onnxruntime makes float32 of a GRU's once, when it loads the file; of a table only
      of the rows that are looked up.

    Args:
        model: An `onnx.ModelProto`; left as it is.
        products: Whether products with matrices, and LSTMs, are among them. Where a student is a
            table with a small layer behind it, quantising what that layer reads takes longer than
            the layer.
    """
    import onnx

    if not products:
        quantized = onnx.ModelProto()
        quantized.CopyFrom(model)
        _quantize_rows(quantized)
        return quantized
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quietly():
        path = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "Gemm", "LSTM"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_last_nodes(model),
        )
        quantized = onnx.load(path)
    _quantize_rows(quantized)
    return quantized


def _last_nodes(model: Any) -> list[str]:
    """Names of the nodes between features and logits."""
    makers = {output: node for node in model.graph.node for output in node.output}
    names, open_ = [], ["logits"]
    while open_:
        node = makers.get(open_.pop())
        if node is not None and "features" not in node.output:
            names += [node.name, f"{node.name}_MatMul"]  # as a Gemm is called once it is replaced
            open_ += [name for name in node.input if name != "features"]
    return names


def _quantize_rows(model: Any) -> None:
    """Give tables that rows are looked up in, and weights of GRUs, int8 rows with scales."""
    from onnx import numpy_helper

    graph = model.graph
    arrays = {one.name: one for one in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == "Gather" and _is_table(node, arrays.get(node.input[0])):
            nodes += _looked_up(graph, node, numpy_helper.to_array(arrays[node.input[0]]))
            continue
        if node.op_type == "GRU":
            for place in (1, 2):  # those of inputs and of states; biases stay
                values = numpy_helper.to_array(arrays[node.input[place]])
                nodes += _restored(graph, node, place, values)
        nodes.append(node)
    read = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _is_table(node: Any, array: Any) -> bool:
    """Whether rows are looked up in vectors that are weights."""
    if array is None or any(one.name == "axis" and one.i for one in node.attribute):
        return False
    return array.data_type == 1 and len(array.dims) == 2 and array.dims[0] >= FEWEST_ROWS


def rows_of(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers and the scale of each row, whose product is near the values.

    Args:
        values: [..., R, S].

    Returns:
        int8 [..., R, S] from -127 to 127, and float32 [..., R, 1]; of a row of zeros the scale
        is 0.
    """
    scales = np.abs(values).max(axis=-1, keepdims=True).astype(np.float32) / LARGEST
    whole = np.rint(values / np.where(scales == 0, 1, scales))
    return whole.astype(np.int8), scales


def _looked_up(graph: Any, node: Any, values: NDArray[np.float32]) -> list[Any]:
    """Nodes that look rows up and restore them."""
    from onnx import helper

    table, scales = _kept(graph, node.input[0], values)
    ids, output = node.input[1], node.output[0]
    make = helper.make_node
    return [
        make("Gather", [table, ids], [f"{output}.int8"], name=f"{node.name}.rows"),
        make("Gather", [scales, ids], [f"{output}.scale"], name=f"{node.name}.scales"),
        make("Cast", [f"{output}.int8"], [f"{output}.whole"], name=f"{node.name}.cast", to=1),
        make("Mul", [f"{output}.whole", f"{output}.scale"], [output], name=node.name),
    ]


def _restored(graph: Any, node: Any, place: int, values: NDArray[np.float32]) -> list[Any]:
    """Nodes that restore a weight whole, which becomes an input of `node`."""
    from onnx import helper

    name = node.input[place]
    table, scales = _kept(graph, name, values)
    node.input[place] = f"{name}.restored"
    make = helper.make_node
    return [
        make("Cast", [table], [f"{name}.whole"], name=f"{name}.cast", to=1),
        make("Mul", [f"{name}.whole", scales], [f"{name}.restored"], name=f"{name}.mul"),
    ]


def _kept(graph: Any, name: str, values: NDArray[np.float32]) -> tuple[str, str]:
    """Names of whole numbers and scales of an array, put into the graph once."""
    from onnx import numpy_helper

    names = f"{name}.int8", f"{name}.scales"
    known = {one.name for one in graph.initializer}
    for one, array in zip(names, rows_of(values), strict=True):
        if one not in known:
            graph.initializer.append(numpy_helper.from_array(array, one))
    return names


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice to preprocess, which these graphs have no need of."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
