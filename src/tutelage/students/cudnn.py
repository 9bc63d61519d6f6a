"""What the recurrent kernels of a GPU ask of their weights."""

from __future__ import annotations

from torch import Tensor, nn


def lay_weights_together(cell: nn.RNNBase, inputs: Tensor) -> None:
    """Have the weights of a cell in one piece of memory where cuDNN reads it; does nothing where
    they are, or on a CPU.

    Moving a module to a GPU does it; loading weights straight onto one does not. Done on every call
    it would copy all weights each time, and leave whoever holds their old memory with weights of
    the past.
    """
    if (
        inputs.is_cuda
        and len({weight.untyped_storage().data_ptr() for weight in cell.parameters()}) > 1
    ):
        cell.flatten_parameters()
