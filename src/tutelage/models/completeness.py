"""Whether the weights of a model are whole: every tensor that its architecture needs is in the
file, in its shape, and holds numbers.

In: a loaded model, and what transformers says of its tensors. Out: nothing, or `ModelError` that
names them. What transformers leaves to chance, a run would take for the model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from tutelage.errors import ModelError, NotEnoughMemory
from tutelage.runs import total_memory_bytes
from tutelage.types import describe_bytes

_NAMED = 3
_HEADS = {"score", "classifier", "classification_head", "pre_classifier", "head", "logits_proj"}
"""What heads that classify are called in models that do not name their backbone."""


def require_whole(
    model: Any, told: Mapping[str, Any], *, part: str, name: str, fresh_head: bool
) -> None:
    """Refuse weights that lack a tensor, or hold one of another shape.

    What the model does without may lack: a backbone its pooler, for hidden states are read below
    it; and the head that classifies, where it may be new and the folder holds a model without one.
    Tied tensors and buffers that are computed are not among what transformers says is missing.

    Args:
        model: As transformers made it, with values or without.
        told: Its `output_loading_info`.
        part: What of the model was loaded, as for `from_pretrained`.
        name: The model, for the message.
        fresh_head: Whether its head may be new.

    Raises:
        ModelError: Tensors are missing, or of another shape.
    """
    new_head = part == "sequence" and fresh_head and not _is_classifier(model.config)
    shapes = [
        f"{tensor} is {_shape(there)} where {_shape(needed)} is needed"
        for tensor, there, needed in sorted(told["mismatched_keys"], key=lambda one: one[0])
    ]
    missing = [
        tensor
        for tensor in sorted(told["missing_keys"])
        if not _can_lack(model, tensor, part=part, new_head=new_head)
    ]
    said = []
    if missing:
        said.append(
            f"{len(missing):,} of the tensors that {type(model).__name__} needs "
            f"{'is' if len(missing) == 1 else 'are'} not in its weights ({_some(missing)})"
        )
    if shapes:
        said.append(f"{len(shapes):,} of another shape ({_some(shapes)})")
    if told.get("error_msgs"):
        said.append(f"some cannot be read ({_some(told['error_msgs'])})")
    if said:
        raise ModelError(
            f"{name}: {'; '.join(said)}. Download the model again, or save all of it with "
            "save_pretrained"
        )


def require_numbers(model: Any, *, name: str) -> None:
    """Refuse weights with values that are no numbers: every answer would be none either.

    A sum is not a number where one of its terms is none, and takes some 0.1 s for 100,000,000
    weights; only where it is none (it may also overflow) are the values looked at.

    Args:
        model: With its values.
        name: For the message.

    Raises:
        ModelError: A value is NaN or infinite.
    """
    faulty = [
        tensor for tensor, values in model.named_parameters() if not is_finite(values.detach())
    ]
    if faulty:
        raise ModelError(
            f"{name}: {len(faulty):,} of its tensors hold values that are no numbers (NaN or "
            f"infinite): {_some(faulty)}. Download the model again, or take another one"
        )


def require_memory(
    shapes: Iterable[Sequence[int]], *, dtype: torch.dtype | None, name: str
) -> None:
    """Refuse weights that are more than this machine has memory for, before they take it.

    Args:
        shapes: Of their tensors.
        dtype: What they are held in; None: as in the file, two bytes each at least.
        name: The model, for the message.

    Raises:
        NotEnoughMemory: They are.
    """
    needed = sum(math.prod(shape) for shape in shapes) * (dtype.itemsize if dtype else 2)
    there = total_memory_bytes()
    if there is not None and needed > there:
        raise NotEnoughMemory(
            f"{name}: its weights take {describe_bytes(needed)} but this machine has "
            f"{describe_bytes(there)} of memory. Take a smaller model, or a machine with more"
        )


def is_finite(values: torch.Tensor) -> bool:
    """Whether all values are numbers; those that are counted in whole numbers always are."""
    if not values.is_floating_point() or values.is_meta or not values.numel():
        return True
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def _can_lack(model: Any, tensor: str, *, part: str, new_head: bool) -> bool:
    path = tensor.split(".")
    if part == "backbone":
        return "pooler" in path
    if not new_head:
        return False
    backbone = model.base_model_prefix
    if backbone and hasattr(model, backbone):
        return path[0] != backbone or "pooler" in path
    return path[0] in _HEADS


def _is_classifier(config: Any) -> bool:
    return any(
        str(name).endswith("ForSequenceClassification") for name in config.architectures or ()
    )


def _shape(sides: Iterable[int]) -> str:
    return f"[{', '.join(map(str, sides))}]"


def _some(names: Collection[Any]) -> str:
    """The first few, and how many more."""
    first = [str(name)[:120] for name in list(names)[:_NAMED]]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")
