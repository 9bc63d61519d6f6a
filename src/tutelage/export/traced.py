"""The graph of any other network of transformers, as torch's exporter traces it.

In: a sequence classifier in evaluation mode. Out: a graph of any batch and length, cut before its
last layer so that what that layer reads is an output too.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.export.graphs import OPSET

MOST_BYTES = 1 << 31
"""Of one file in the format of ONNX."""


class _Cut(nn.Module):
    """A classifier in two parts: up to its last linear layer, and that layer.

    Where the layer scores every token and one of the scores is taken, the states of that token are
    taken instead, which comes to the same.
    """

    def __init__(self, model: nn.Module, last: str) -> None:
        super().__init__()
        self.last = model.get_submodule(last)
        model.set_submodule(last, nn.Identity())
        self.body = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        features_BD = self.body(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True
        ).logits
        return self.last(features_BD), features_BD


def traced_graph(model: Any) -> Any:
    """The graph of a sequence classifier.

    Args:
        model: On the CPU, in evaluation mode; left as it is.

    Returns:
        An `onnx.ModelProto` with inputs `input_ids` and `attention_mask`, outputs `logits` and
        `features`, what the last layer reads.

    Raises:
        ModelError: It ends with no linear layer, is too large, or cannot be traced.
    """
    name = model.config.model_type
    if (size := sum(4 * weight.numel() for weight in model.parameters())) >= MOST_BYTES:
        raise ModelError(
            f"a student of {size / 1e9:.1f} GB ({name}) does not fit into one ONNX file, which "
            f"holds {MOST_BYTES / 1e9:.1f} GB: export a smaller one"
        )
    cut = _Cut(copy.deepcopy(model).float(), _last_layer(model)).eval()
    ids = torch.tensor([[2, 3, 4, 5], [3, 4, 0, 0], [4, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    free = torch.export.Dim.DYNAMIC
    with torch.no_grad(), _quietly():
        try:
            program = torch.onnx.export(
                cut,
                (ids, mask),
                input_names=["input_ids", "attention_mask"],
                output_names=["logits", "features"],
                dynamic_shapes={
                    "input_ids": {0: free, 1: free},
                    "attention_mask": {0: free, 1: free},
                },
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # of the exporter's own, which have no class in common
            first = str(error).strip().splitlines()[:1]
            raise ModelError(
                f"torch {torch.__version__} cannot export a student of the kind {name} "
                f"({type(error).__name__}: {' '.join(first)}): serve it with transformers, or "
                "train one of another kind"
            ) from error
    return _without_notes(cast(Any, program).model_proto)


def _without_notes(model: Any) -> Any:
    """The graph without what the exporter wrote into it about source files, which is more than the
    weights of a small student, and names paths of this machine.
    """
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output,
                *graph.initializer, *model.functions):  # fmt: skip
        one.ClearField("metadata_props")
        one.ClearField("doc_string")
    return model


def _last_layer(model: nn.Module) -> str:
    """The name of the linear layer that gives the scores."""
    classes, called = cast(Any, model).config.num_labels, []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    try:
        ids = torch.tensor([[2, 3]])
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise ModelError(
            f"a student of the kind {cast(Any, model).config.model_type} does not end with a "
            "linear layer, which an export must find: train one of another kind"
        )
    return called[-1]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of packages that are not there and of its own functions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
