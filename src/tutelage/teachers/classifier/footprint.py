"""How large the part of a classifier teacher is that an answer takes.

In: what was fitted, how, and on which layers. Out: weights and bytes, of what runs only.
"""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.teachers.classifier.features import weights_read
from tutelage.teachers.classifier.fitting import Fitted, adapter_name

_BEFORE_THE_FIT = "original_module"
"""Where PEFT keeps a classification head as it was."""


def footprint(fitted: Fitted, *, layers: Sequence[int] = ()) -> tuple[int, int]:
    """Number of weights that an answer to a new text takes, and their bytes in the precision they
    are used in.

    Under a linear head these are the embeddings, the layers up to the deepest one that the head
    reads, and the head fitted on all rows; otherwise the model, with only the adapter fitted on all
    rows if there are adapters. Layers that do not run, the output matrix, and what the folds fitted
    are left out: nobody who answers with it needs them.

    Args:
        fitted: What fitting gave.
        layers: The layers that a linear head reads.
    """
    model = fitted.language_model
    if fitted.weight is not None and fitted.bias is not None:
        read, head = weights_read(model, layers), (fitted.weight[0], fitted.bias[0])
    else:
        unused = {_BEFORE_THE_FIT, *(adapter_name(fold + 1) for fold in range(fitted.folds))}
        read = [
            weight
            for name, weight in model.model.named_parameters()
            if unused.isdisjoint(name.split("."))
        ]
        head = ()
    parameters = sum(weight.numel() for weight in read) + sum(array.size for array in head)
    return parameters, sum(weight.nbytes for weight in read) + sum(array.nbytes for array in head)
