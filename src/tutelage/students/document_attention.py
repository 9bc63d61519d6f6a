"""Attention inside each document of a packed row, on a processor: no mask, and no work that a mask would throw away.

A mask of several documents has SDPA multiply every token with every other one of its row, and read the mask besides.
Here the row is cut at the documents and each is given to the causal kernel by itself: a row of k equal documents costs
a k-th of it, and half of that again because the kernel then knows the order of tokens. On a GPU many small kernels
would cost more than the mask, so it stays there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

_NAME = "tutelage_documents"


def attend_inside_documents(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **settings: Any
) -> tuple[Tensor, None]:
    """Causal attention of every document of every row with itself alone.

    Args:
        module: The attention layer.
        query: `[B, heads, T, D]`; key and value may have fewer heads.
        key: As query.
        value: As query.
        attention_mask: In its place the names of the documents, int `[B, 1, 1, T]`, each document in one piece.
            transformers hands four dimensions on as they are.
        **settings: What transformers gives its own SDPA attention.

    Returns:
        `[B, T, heads, D]`, and None for the weights.
    """
    sdpa = AttentionInterface()["sdpa"]
    rows = []
    for row, names in enumerate(attention_mask[:, 0, 0]):
        lengths = torch.unique_consecutive(names, return_counts=True)[1].tolist()
        pieces = [tensor[row : row + 1].split(lengths, dim=2) for tensor in (query, key, value)]
        rows.append(torch.cat([sdpa(module, *piece, None, **settings)[0] for piece in zip(*pieces, strict=True)], 1))
    return torch.cat(rows), None


AttentionInterface.register(_NAME, attend_inside_documents)


def attends_through_the_interface(model: Any) -> bool:
    """Whether all layers of this model ask transformers for their attention by one name, and for SDPA."""
    config = model.config.get_text_config()
    by_name = getattr(model, "_supports_attention_backend", False) and config._attn_implementation == "sdpa"
    return bool(by_name) and all(getattr(part, "config", config) is config for part in model.base_model.modules())


@contextmanager
def attention_inside_documents(model: Any) -> Iterator[None]:
    """Have the model's layers attend this way inside; afterwards by SDPA as before."""
    config = model.config.get_text_config()
    before = config._attn_implementation_internal
    config._attn_implementation_internal = _NAME
    try:
        yield
    finally:
        config._attn_implementation_internal = before
