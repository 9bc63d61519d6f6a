"""The attention of a model: what it is called, another one in its place for a while, and the one
that keeps documents of a packed row apart.

transformers keeps the first two in private attributes, so they are read and set here and nowhere
else, with the versions that the tests ran with. With another one nothing is known of any model,
and callers take the stock way: one document in a row, every prompt run whole; slower, and right.

A mask of several documents has SDPA multiply every token with every other one of its row, and read
the mask besides. On a processor the row is cut at the documents instead, and each is given to the
causal kernel by itself. On a GPU the mask stays: many small kernels have not been measured there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn


def attention_of(model: Any) -> str | None:
    """The name of the attention that a model uses, for instance `sdpa`.

    Args:
        model: Of transformers.

    Returns:
        None where the version of transformers is not one that was tested.
    """
    if not transformers_was_tested():
        return None
    return model.config.get_text_config()._attn_implementation


def asks_for_its_attention(model: Any) -> bool:
    """True if the layers of a model ask transformers for their attention by its name, so that
    another one can be put in its place.
    """
    return transformers_was_tested() and bool(model._supports_attention_backend)


def keeps_a_state(model: Any) -> bool:
    """True for a model that carries a state from token to token, which masks do not reach."""
    return bool(model._is_stateful)


@contextmanager
def attending_by(model: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Have the layers of a model attend another way inside; as before afterwards.

    Args:
        model: One that `asks_for_its_attention`.
        name: Of the other way; masks are not made for it.
        attend: As transformers calls it: module, query, key, value, mask and settings.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(name, attend)
    config = model.config.get_text_config()
    before = config._attn_implementation_internal
    config._attn_implementation_internal = name
    try:
        yield
    finally:
        config._attn_implementation_internal = before


TESTED_TRANSFORMERS = ((5, 24),)
"""Major and minor numbers of the versions that the tests ran with; `pyproject.toml` ends where
they end."""


def transformers_was_tested() -> bool:
    """True if the installed transformers is a version that the tests ran with."""
    import transformers

    major, minor, *_ = transformers.__version__.split(".")
    return (int(major), int(minor)) in TESTED_TRANSFORMERS


_NAME = "tutelage_documents"
_documents: ContextVar[Tensor] = ContextVar("documents")


class MaskChanged(Exception):
    """A model does something to its mask before it attends, so that the names of documents do not
    arrive.
    """


def attend_inside_documents(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every document of every row with itself alone.

    Args:
        module: The attention layer.
        query: `[B, heads, T, D]`; key and value may have fewer heads.
        key: As query.
        value: As query.
        attention_mask: In its place the names of the documents, as `attention_inside_documents`
            gave them out.
        **settings: What transformers gives its own SDPA attention.

    Returns:
        `[B, T, heads, D]`, and None for the weights.

    Raises:
        MaskChanged: What arrives is something else, or there is a bias over all positions besides.
    """
    names = _documents.get()
    if (
        attention_mask is None
        or attention_mask.shape != names.shape
        or attention_mask.data_ptr() != names.data_ptr()
    ):
        raise MaskChanged
    if settings.get("position_bias") is not None:
        raise MaskChanged
    from transformers import AttentionInterface

    sdpa = AttentionInterface()["sdpa"]
    rows = []
    for row, documents in enumerate(names[:, 0, 0]):
        lengths = torch.unique_consecutive(documents, return_counts=True)[1].tolist()
        pieces = [tensor[row : row + 1].split(lengths, dim=2) for tensor in (query, key, value)]
        rows.append(
            torch.cat(
                [sdpa(module, *piece, None, **settings)[0] for piece in zip(*pieces, strict=True)],
                1,
            )
        )
    return torch.cat(rows), None


def attends_through_the_interface(model: Any) -> bool:
    """Whether all layers of this model ask transformers for their attention by one name, and for
    SDPA.

    Layers that are run again during the backward pass (gradient checkpointing) would ask when the
    name is gone.
    """
    config = model.config.get_text_config()
    if not asks_for_its_attention(model) or attention_of(model) != "sdpa":
        return False
    return all(
        getattr(part, "config", config) is config
        and not getattr(part, "gradient_checkpointing", False)
        for part in model.base_model.modules()
    )


@contextmanager
def attention_inside_documents(model: Any, segments: Tensor) -> Iterator[Tensor]:
    """Have the model's layers attend this way inside; afterwards by SDPA as before.

    Args:
        model: Of transformers; see `attends_through_the_interface`.
        segments: Names of the documents, int `[B, T]`, each document in one piece.

    Yields:
        What to give the model as its mask: `[B, 1, 1, T]`, for transformers hands on four
            dimensions as they are.
    """
    names = segments[:, None, None]
    token = _documents.set(names)
    try:
        with attending_by(model, _NAME, attend_inside_documents):
            yield names
    finally:
        _documents.reset(token)
