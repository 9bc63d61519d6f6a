"""The graphs of students that look rows up in a table: `linear` and `static`.

In: a student as it answers without torch. Out: a graph of lookups, a sum, and little behind it.
"""

from __future__ import annotations

import numpy as np

from tutelage.export.graphs import Graph
from tutelage.students.classifier.linear.model import LinearClassifier
from tutelage.students.classifier.static.model import NORM_EPSILON, TINY, StaticClassifier

_ROWS = {"rows": (np.int64, ("batch", "terms")), "mask": (np.float32, ("batch", "terms"))}


def linear_graph(student: LinearClassifier) -> object:
    """The graph of a linear student: bias + scale times the sum of rows of n-grams.

    Returns:
        An `onnx.ModelProto` with inputs `rows`, `mask` and `scale`, outputs `logits` and
        `features`, which are the logits: there is only one layer.
    """
    graph = Graph({**_ROWS, "scale": (np.float32, ("batch", 1))})
    table = graph.weight("table", student.weights)
    total = _summed(graph, graph.add("Gather", table, "rows", name="lookup"), "mask")
    scaled = graph.add("Mul", total, "scale")
    logits = graph.add("Add", scaled, graph.weight("bias", student.bias), name="logits")
    features = graph.add("Identity", logits, name="features")
    classes = len(student.labels)
    return graph.model({logits: ("batch", classes), features: ("batch", classes)})


def static_graph(student: StaticClassifier) -> object:
    """The graph of a static student: the weighted mean of rows of tokens and pairs, and the layers
    that read it.

    Returns:
        An `onnx.ModelProto` with inputs `rows` and `mask`, outputs `logits` and `features`, what
        the last layer reads.
    """
    graph = Graph(_ROWS)
    table = graph.weight("table", student.vectors)  # each vector times its weight
    weights = graph.weight("weights", student.weights)
    total = _summed(graph, graph.add("Gather", table, "rows", name="lookup"), "mask")
    counted = graph.add("Mul", graph.add("Gather", weights, "rows"), "mask")
    weight = graph.add("ReduceSum", counted, graph.whole(1), keepdims=1)
    weight = graph.add("Max", weight, graph.weight("tiny", np.float32(TINY)))
    state, width = graph.add("Div", total, weight), student.vectors.shape[1]
    if student.norm is not None:
        scale, shift = (
            graph.weight(name, values)
            for name, values in zip(("norm.weight", "norm.bias"), student.norm, strict=True)
        )
        state = graph.add(
            "LayerNormalization", state, scale, shift, axis=-1, epsilon=float(NORM_EPSILON)
        )
    *inner, last = (
        (graph.weight(f"{place}.weight", matrix), graph.weight(f"{place}.bias", bias))
        for place, (matrix, bias) in enumerate(student.layers)
    )
    for layer in inner:
        state = graph.add("Relu", graph.add("Gemm", state, *layer))
    if student.norm is not None:
        width = student.layers[-1][0].shape[0]
    features = graph.add("Identity", state, name="features")
    logits = graph.add("Gemm", features, *last, name="logits")
    return graph.model({logits: ("batch", len(student.labels)), features: ("batch", width)})


def _summed(graph: Graph, found: str, mask: str) -> str:
    """The sum of the rows [B, K, S] that count, [B, S]."""
    mask_B1K = graph.add("Unsqueeze", mask, graph.whole(1))
    return graph.add("Squeeze", graph.add("MatMul", mask_B1K, found), graph.whole(1))
