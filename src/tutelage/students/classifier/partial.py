"""Which weights of a classifier that exists already are trained, and how fast: its first layers may
stay as they are, its layers may get low-rank additions, its head may have a learning rate of its
own.

In: a sequence classifier of transformers. Out: the same model with the weights that stay as they
are marked (`requires_grad`), or the model with adapters; the names of the head's weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.models.output import below_adapters


def layers_of(
    model: Any, *, name: str, advice: str = "leave freeze and lora out, or take another model"
) -> nn.ModuleList:
    """The layers of a model, in the order in which they run.

    Args:
        model: With some head or none, with values or without.
        name: The model, for the message.
        advice: What to do about layers that cannot be told, for the message.

    Raises:
        ModelError: They are not one list, as where one layer runs over and over (ALBERT), or where
            a decoder reads what an encoder made (BART).
    """
    encoder = model.base_model
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found: list[tuple[str, nn.ModuleList]] = []
    for place, module in encoder.named_modules():
        inside = any(place.startswith(f"{outer}.") for outer, _ in found)
        if isinstance(module, nn.ModuleList) and len(module) == depth and not inside:
            found.append((place, module))
    if len(found) != 1 or model.config.is_encoder_decoder:
        raise ModelError(
            f"{name} is of the kind {model.config.model_type}, whose layers are not one list, so "
            f"its first ones cannot be told: {advice}"
        )
    return found[0][1]


def freeze_first(model: Any, tokenizer: Any, *, layers: int, name: str) -> None:
    """Leave the embeddings and the first layers as they are: no gradient, no state of an optimizer.

    The embeddings are whatever makes what the first layer reads, found out by asking for the
    gradient of a short text, so tables of positions and their norms are among them in every model.

    Args:
        model: A sequence classifier with its values, in evaluation mode.
        tokenizer: Its tokenizer.
        layers: How many; 0 freezes the embeddings alone.
        name: The model, for messages.

    Raises:
        ModelError: It has fewer layers, or they cannot be told, see `layers_of`.
    """
    blocks = layers_of(model, name=name)
    require_depth(layers, len(blocks), name=name)
    for parameter in [*_below(model, tokenizer, blocks[0]), *blocks[:layers].parameters()]:
        parameter.requires_grad_(False)


def require_depth(layers: int, depth: int, *, name: str) -> None:
    """Refuse to freeze more layers than there are.

    Raises:
        ModelError: There are fewer.
    """
    if layers > depth:
        raise ModelError(
            f"freeze is {layers}, but {name} has {depth} layers: give 0 (the embeddings alone) to "
            f"{depth}, or leave it out"
        )


def require_adapted(frozen: int, depth: int, *, name: str) -> None:
    """Refuse adapters where every layer stays as it is.

    Raises:
        ModelError: None is left.
    """
    if frozen >= depth:
        raise ModelError(
            f"{name} has {depth} layers, and freeze: {frozen} leaves none for lora: freeze fewer, "
            "or leave lora out"
        )


class _Reached(Exception):
    """The first layer is called."""


def _below(model: Any, tokenizer: Any, first: nn.Module) -> list[nn.Parameter]:
    """The weights that make what a layer is called with."""
    read: list[Tensor] = []

    def leave(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read.extend(_with_gradient([*args, *kwargs.values()]))
        raise _Reached

    rows = model.get_input_embeddings().weight.shape[0]
    ids = [token for token in tokenizer("a text")["input_ids"] if token < rows] or [0]
    handle = first.register_forward_pre_hook(leave, with_kwargs=True)
    try:
        probe = torch.tensor([ids])
        model(input_ids=probe, attention_mask=torch.ones_like(probe))
    except _Reached:
        pass
    finally:
        handle.remove()
    weights = list(model.parameters())
    total = torch.stack([values.sum() for values in read]).sum()
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    return [
        weight for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None
    ]


def _with_gradient(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor) and value.requires_grad:
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _with_gradient(value)


def head_weights(model: Any) -> dict[str, nn.Parameter]:
    """The weights that make classes of the encoder's states, by name: all outside of the encoder,
    and the encoder's pooler, which only they read.

    Args:
        model: A sequence classifier, or one with adapters.
    """
    inner = below_adapters(model)
    encoder = inner.base_model
    pooler = getattr(encoder, "pooler", None)
    read_only = [] if pooler is None else list(pooler.parameters())
    inside = {id(weight) for weight in encoder.parameters()} - {id(one) for one in read_only}
    heads = {id(weight) for weight in inner.parameters()} - inside
    return {name: weight for name, weight in model.named_parameters() if id(weight) in heads}


def add_class_lora(
    model: Any, *, rank: int, alpha: float, seed: int, frozen: int, name: str
) -> Any:
    """Put low-rank adapters beside the linear layers of a classifier's encoder; these and its head
    are trained, all else stays as it is.

    Args:
        model: A sequence classifier; its layers are wrapped in place.
        rank: As in `Lora`.
        alpha: As in `Lora`.
        seed: Of the random half of the adapters; nothing changes at first.
        frozen: The first layers, that get none.
        name: The model, for messages.

    Returns:
        A model of peft around the one given.

    Raises:
        ModelError: Its layers cannot be told, see `layers_of`; or none is left for adapters.

    Source: as `add_lora`; the head is trained whole, since it begins at random.
    """
    from transformers.pytorch_utils import Conv1D

    from tutelage.students.language.lora import wrapped

    blocks = layers_of(model, name=name)
    require_adapted(frozen, len(blocks), name=name)
    linear = {
        id(part) for part in blocks[frozen:].modules() if isinstance(part, (nn.Linear, Conv1D))
    }
    places = [place for place, module in model.named_modules() if id(module) in linear]
    heads = list(head_weights(model).values())
    adapted = wrapped(model, rank=rank, alpha=alpha, seed=seed, target_modules=places)
    for weight in heads:
        weight.requires_grad_(True)
    return adapted
