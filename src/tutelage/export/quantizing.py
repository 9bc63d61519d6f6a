"""Graphs with weights of eight bits: products in whole numbers, tables with a scale for each row.

In: a graph in float32. Out: one of about a quarter of its bytes, whose answers differ a little.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Products = Literal["int8", "mixed", "float32"]
"""How products with weights are computed: all in whole numbers; those that make their input
narrower in float32, for it is what a nonlinearity leaves, a few values of which are often far
larger than all others; or all in float32."""
ALL_PRODUCTS: tuple[Products, ...] = get_args(Products)
"""The fastest and coarsest first."""
FEWEST_VALUES = 256
"""Of a weight that is worth scales."""
LARGEST = 127


def quantize(model: Any, *, products: Products) -> Any:
    """The same graph with weights in int8, but for biases, norms, and the last layer, whose bytes
    are few and whose rounding would move every answer.

    - Products in whole numbers are made by `onnxruntime.quantization`: a scale for each column,
      inputs quantised as they come, weights of 7 bits, so that processors without VNNI do not
      overflow and a file answers alike on all of them. An LSTM becomes `DynamicQuantizeLSTM` of
      onnxruntime; for a GRU there is no such operator.
    - Tables of vectors keep int8 rows, each with its scale; those that are looked up become
      float32.
    - Weights of other products are kept likewise and become float32 once, when onnxruntime loads
      the file: bytes are saved, time is not.

    Args:
        model: An `onnx.ModelProto`; left as it is.
        products: Which products are in whole numbers.
    """
    import onnx

    last = _last_nodes(model)
    if products == "float32":
        quantized = onnx.ModelProto()
        quantized.CopyFrom(model)
    else:
        left = last | (_narrowing(model) if products == "mixed" else set())
        quantized = _with_whole_products(model, but=left)
    _quantize_weights(quantized, but=last)
    return quantized


def _with_whole_products(model: Any, *, but: set[str]) -> Any:
    import onnx
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
            nodes_to_exclude=sorted(but),
        )
        return onnx.load(path)


def _named(node: Any) -> set[str]:
    """The name of a node, and of the product that a Gemm is replaced by."""
    return {node.name, f"{node.name}_MatMul"}


def _last_nodes(model: Any) -> set[str]:
    """Names of the nodes between features and logits."""
    makers = {output: node for node in model.graph.node for output in node.output}
    names: set[str] = set()
    open_ = ["logits"]
    while open_:
        node = makers.get(open_.pop())
        if node is not None and "features" not in node.output:
            names |= _named(node)
            open_ += [name for name in node.input if name != "features"]
    return names


def _narrowing(model: Any) -> set[str]:
    """Names of products that give fewer values than they read."""
    shapes = {one.name: tuple(one.dims) for one in model.graph.initializer}
    names: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm") and len(shapes.get(node.input[1], ())) == 2:
            read, gives = shapes[node.input[1]][:: -1 if _is_turned(node) else 1]
            names |= _named(node) if read > gives else set()
    return names


def _is_turned(node: Any) -> bool:
    """Whether the columns of its weight are what is read."""
    return any(one.name == "transB" and one.i for one in node.attribute)


def _quantize_weights(model: Any, *, but: set[str]) -> None:
    """Give all weights that are still float32 whole numbers with scales."""
    from onnx import numpy_helper

    graph = model.graph
    weights = {
        one.name: one
        for one in graph.initializer
        if one.data_type == 1 and len(one.dims) > 1 and np.prod(one.dims) >= FEWEST_VALUES
    }
    nodes: list[Any] = []
    for node in graph.node:
        given = [place for place, name in enumerate(node.input) if name in weights]
        values = {place: numpy_helper.to_array(weights[node.input[place]]) for place in given}
        if node.op_type == "Gather" and given == [0] and not _axis(node):
            nodes += _looked_up(graph, node, values[0])
            continue
        if node.op_type in ("GRU", "LSTM"):  # weights of inputs and of states; biases stay
            for place in (1, 2):
                if place in values:
                    nodes += _restored(graph, node, place, values[place], axis=-1)
        elif node.op_type in ("MatMul", "Gemm") and 1 in values and node.name not in but:
            axis = 1 if _is_turned(node) else 0
            nodes += _restored(graph, node, 1, values[1], axis=axis)
        nodes.append(node)
    read = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def _axis(node: Any) -> int:
    return next((one.i for one in node.attribute if one.name == "axis"), 0)


def whole_numbers(
    values: NDArray[np.float32], *, axis: int = -1
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers and scales, whose product is near the values.

    Args:
        values: Of any shape.
        axis: Along which values share a scale.

    Returns:
        int8 of the same shape from -127 to 127, and float32 with 1 in the place of the axis; of
        zeros alone the scale is 0.
    """
    scales = np.abs(values).max(axis=axis, keepdims=True).astype(np.float32) / LARGEST
    whole = np.rint(values / np.where(scales == 0, 1, scales))
    return whole.astype(np.int8), scales


def _looked_up(graph: Any, node: Any, values: NDArray[np.float32]) -> list[Any]:
    """Nodes that look rows up and restore them."""
    from onnx import helper

    table, scales = _kept(graph, node.input[0], values, axis=-1)
    ids, output = node.input[1], node.output[0]
    make = helper.make_node
    return [
        make("Gather", [table, ids], [f"{output}.int8"], name=f"{node.name}.rows"),
        make("Gather", [scales, ids], [f"{output}.scale"], name=f"{node.name}.scales"),
        make("Cast", [f"{output}.int8"], [f"{output}.whole"], name=f"{node.name}.cast", to=1),
        make("Mul", [f"{output}.whole", f"{output}.scale"], [output], name=node.name),
    ]


def _restored(
    graph: Any, node: Any, place: int, values: NDArray[np.float32], *, axis: int
) -> list[Any]:
    """Nodes that restore a weight whole, which becomes an input of `node`."""
    from onnx import helper

    name = node.input[place]
    given = f"{name}.for.{node.name}"
    table, scales = _kept(graph, name, values, axis=axis)
    node.input[place] = given
    make = helper.make_node
    return [
        make("Cast", [table], [f"{given}.whole"], name=f"{given}.cast", to=1),
        make("Mul", [f"{given}.whole", scales], [given], name=f"{given}.mul"),
    ]


def _kept(graph: Any, name: str, values: NDArray[np.float32], *, axis: int) -> tuple[str, str]:
    """Names of whole numbers and scales of an array, put into the graph once."""
    from onnx import numpy_helper

    names = f"{name}.int8.{axis}", f"{name}.scales.{axis}"
    known = {one.name for one in graph.initializer}
    for one, array in zip(names, whole_numbers(values, axis=axis), strict=True):
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
