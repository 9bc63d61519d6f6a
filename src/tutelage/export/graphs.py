"""ONNX graphs in the making: nodes in the order in which they run, weights by name.

In: operators and arrays. Out: an `onnx.ModelProto`, checked. Nothing here knows what a student is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

OPSET = 18
"""Of the graphs that are built here, and the least of traced ones."""
IR_VERSION = 9
"""Which every onnxruntime reads that reads this opset."""
Shape = Sequence[int | str]


class Graph:
    """A graph that grows node by node.

    Args:
        inputs: Type and shape of every input by name; a dimension with a name may be any size.
    """

    def __init__(self, inputs: Mapping[str, tuple[DTypeLike, Shape]]) -> None:
        self._inputs = dict(inputs)
        self._nodes: list[Any] = []
        self._weights: dict[str, NDArray[Any]] = {}

    def weight(self, name: str, values: ArrayLike) -> str:
        """Keep an array under a name, which is given back; twice the same name is the same one."""
        self._weights.setdefault(name, np.ascontiguousarray(values))
        return name

    def whole(self, *numbers: int) -> str:
        """Whole numbers as an input, such as axes or a shape."""
        return self.weight(
            "whole_" + "_".join(map(str, numbers)), np.array(numbers, dtype=np.int64)
        )

    def whole_scalar(self, number: int) -> str:
        """A whole number without an axis."""
        return self.weight(f"scalar_{number}", np.int64(number))

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output, whose name is given back.

        Args:
            operator: Of the standard operators.
            *inputs: Names of inputs, weights or outputs; an empty one is left out.
            name: Of node and output; empty: made up.
            **attributes: Of the operator.
        """
        return self.add_several(operator, *inputs, outputs=1, name=name, **attributes)[0]

    def add_several(
        self, operator: str, *inputs: str, outputs: int, name: str = "", **attributes: Any
    ) -> list[str]:
        """As `add`, with several outputs: `NAME`, `NAME_1` and so on."""
        from onnx import helper

        name = name or f"{operator.lower()}_{len(self._nodes)}"
        given = [name, *(f"{name}_{place}" for place in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, inputs, given, name=name, **attributes))
        return given

    def model(self, outputs: Mapping[str, Shape]) -> Any:
        """The finished graph.

        Args:
            outputs: Shape of every output, all of them float32.

        Raises:
            onnx.checker.ValidationError: The nodes do not fit each other.
        """
        import onnx
        from onnx import helper, numpy_helper

        graph = helper.make_graph(
            self._nodes,
            "student",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), shape)
                for name, (kind, shape) in (
                    (name, (np.dtype(given), shape))
                    for name, (given, shape) in self._inputs.items()
                )
            ],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
                for name, shape in outputs.items()
            ],
            [numpy_helper.from_array(values, name) for name, values in self._weights.items()],
        )
        model = helper.make_model(
            graph,
            producer_name="tutelage",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model
