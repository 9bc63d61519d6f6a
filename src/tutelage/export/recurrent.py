"""The graph of a recurrent student, built node by node.

In: a trained LSTM or GRU classifier. Out: a graph whose recurrent operators are told the length of
every text, so that padding reaches neither the backward direction nor the pooling. The exporter of
torch gets this wrong (pytorch issues 189225, 191855, 62240).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.export.graphs import Graph

LSTM_ORDER = (0, 3, 1, 2)
"""Gates of torch (input, forget, cell, output) in the order of ONNX (input, output, forget,
cell)."""
GRU_ORDER = (1, 0, 2)
"""Gates of torch (reset, update, new) in the order of ONNX (update, reset, new)."""


def recurrent_graph(model: Any) -> Any:
    """The graph of a recurrent student.

    Args:
        model: A `RecurrentForSequenceClassification`.

    Returns:
        An `onnx.ModelProto` with inputs `input_ids` and `attention_mask`, outputs `logits` and
        `features`.
    """
    config = model.config
    weights = {name: one.detach().float().numpy() for name, one in model.state_dict().items()}
    graph = Graph(
        {
            "input_ids": (np.int64, ("batch", "length")),
            "attention_mask": (np.int64, ("batch", "length")),
        }
    )
    mask_BT, lengths_B = _lengths(graph)
    ids_TB = graph.add("Transpose", "input_ids", perm=[1, 0])
    table = graph.weight("embedding.weight", weights["embedding.weight"])
    states = graph.add("Gather", table, ids_TB, name="embedding")
    directions = 2 if config.bidirectional else 1
    ends = ""
    for layer in range(config.layers):
        states, ends = _layer(graph, states, lengths_B, weights, layer=layer, config=config)
        states = graph.add("Transpose", states, perm=[0, 2, 1, 3])  # [T, B, directions, H]
        states = graph.add("Reshape", states, graph.whole(0, 0, directions * config.hidden_size))
    states_BTH = graph.add("Transpose", states, perm=[1, 0, 2])
    if config.pooling == "last":
        ends = graph.add("Transpose", ends, perm=[1, 0, 2])
        pooled = graph.add("Reshape", ends, graph.whole(0, directions * config.hidden_size))
    else:
        pooled = _pooled(graph, config.pooling, states_BTH, mask_BT, lengths_B, weights)
    features = graph.add("Identity", pooled, name="features")
    classifier = [
        graph.weight(name, weights[name]) for name in ("classifier.weight", "classifier.bias")
    ]
    logits = graph.add("Gemm", features, *classifier, name="logits", transB=1)
    classes = len(weights["classifier.bias"])
    return graph.model({logits: ("batch", classes), features: ("batch", config.features)})


def _lengths(graph: Graph) -> tuple[str, str]:
    """Which places are read, bool [B, T], and how many of each text, int64 [B]: one of a text
    without any token, as training reads it.
    """
    counted = graph.add("ReduceSum", "attention_mask", graph.whole(1), keepdims=0)
    lengths_B = graph.add("Max", counted, graph.whole(1))
    last = graph.add("Shape", "input_ids", start=1, end=2)
    scalar = graph.whole_scalar(0), graph.whole_scalar(1)
    places_T = graph.add("Range", scalar[0], graph.add("Squeeze", last), scalar[1])
    mask_BT = graph.add("Less", places_T, graph.add("Unsqueeze", lengths_B, graph.whole(1)))
    return mask_BT, lengths_B


def _layer(
    graph: Graph,
    states: str,
    lengths: str,
    weights: dict[str, NDArray[np.float32]],
    *,
    layer: int,
    config: Any,
) -> tuple[str, str]:
    """One layer over [T, B, E]: states [T, directions, B, H] and ends [directions, B, H]."""
    order = GRU_ORDER if config.cell == "gru" else LSTM_ORDER

    def gathered(name: str) -> NDArray[np.float32]:
        suffixes = ("", "_reverse") if config.bidirectional else ("",)
        return np.stack(
            [_gates(weights[f"recurrent.{name}_l{layer}{suffix}"], order) for suffix in suffixes]
        )

    biases = np.concatenate([gathered("bias_ih"), gathered("bias_hh")], axis=1)
    # `linear_before_reset`: torch applies the reset gate after the product with the recurrent
    # weights, bias included.
    gru = {"linear_before_reset": 1} if config.cell == "gru" else {}
    states, ends = graph.add_several(
        config.cell.upper(),
        states,
        graph.weight(f"recurrent.{layer}.input", gathered("weight_ih")),
        graph.weight(f"recurrent.{layer}.recurrent", gathered("weight_hh")),
        graph.weight(f"recurrent.{layer}.bias", biases),
        graph.add("Cast", lengths, to=6),  # int32, as the operator asks for
        outputs=2,
        name=f"recurrent.{layer}",
        hidden_size=config.hidden_size,
        direction="bidirectional" if config.bidirectional else "forward",
        **gru,
    )
    return states, ends


def _gates(weight: NDArray[np.float32], order: tuple[int, ...]) -> NDArray[np.float32]:
    """Gates stacked along the first axis, in another order."""
    gates = np.split(weight, len(order))
    return np.concatenate([gates[place] for place in order])


def _pooled(
    graph: Graph,
    pooling: str,
    states: str,
    mask: str,
    lengths: str,
    weights: dict[str, NDArray[np.float32]],
) -> str:
    """One vector of the states [B, T, H] of every text."""
    mask_BT1 = graph.add("Unsqueeze", mask, graph.whole(2))
    lowest = graph.weight("lowest", np.float32(-np.inf))

    def mean() -> str:
        zero = graph.weight("zero", np.float32(0))
        kept = graph.add("Where", mask_BT1, states, zero)
        total = graph.add("ReduceSum", kept, graph.whole(1), keepdims=0)
        count = graph.add("Cast", lengths, to=1)
        return graph.add("Div", total, graph.add("Unsqueeze", count, graph.whole(1)))

    def most() -> str:
        kept = graph.add("Where", mask_BT1, states, lowest)
        return graph.add("ReduceMax", kept, graph.whole(1), keepdims=0)

    def attended() -> str:
        scored = states
        for place, between in ((0, "Tanh"), (2, "")):
            matrix = graph.weight(f"scorer.{place}.weight", weights[f"scorer.{place}.weight"].T)
            bias = graph.weight(f"scorer.{place}.bias", weights[f"scorer.{place}.bias"])
            scored = graph.add("Add", graph.add("MatMul", scored, matrix), bias)
            scored = graph.add(between, scored) if between else scored
        scored = graph.add("Where", mask_BT1, scored, lowest)
        shares_B1T = graph.add("Transpose", graph.add("Softmax", scored, axis=1), perm=[0, 2, 1])
        return graph.add("Squeeze", graph.add("MatMul", shares_B1T, states), graph.whole(1))

    match pooling:
        case "mean":
            return mean()
        case "max":
            return most()
        case "mean_max":
            return graph.add("Concat", mean(), most(), axis=1)
        case "attention":
            return attended()
        case other:
            raise AssertionError(other)
