"""How many tokens a model can read at once.

In: a loaded model. Out: the length that its texts are cut to.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def readable_tokens(model: Any, max_length: int) -> int:
    """`max_length`, or what the model has positions for where that is less.

    Args:
        model: A transformers model, also one that PEFT has wrapped.
        max_length: What was asked for.

    Returns:
        Tokens, special ones included.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return max_length
    return min(max_length, positions - _positions_never_used(model))


def _positions_never_used(model: Any) -> int:
    """RoBERTa and its kin count positions from behind the padding id: rows 0 to that id of their
    table stay unused.
    """
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0
