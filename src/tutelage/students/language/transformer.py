"""The fresh transformer student of language modelling: a stock Llama, so that others load it with
nothing of ours.

In: a tokenizer and a size. Out: a causal language model with random weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.students.classifier.transformer import REFERENCE_STD, REFERENCE_WIDTH

HEAD_WIDTH = 64
CHANNELS_MULTIPLE = 32
"""Quantised formats store weights in blocks of so many."""


def build_language_transformer(
    *,
    tokenizer: Any,
    layers: int = 6,
    hidden_size: int = 384,
    heads: int | None = None,
    kv_heads: int | None = None,
    intermediate_size: int | None = None,
    sequence_length: int = 512,
    tie: bool = True,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A fresh Llama with random weights.

    Args:
        tokenizer: The teacher's; gives the vocabulary and the special tokens.
        layers: Transformer layers.
        hidden_size: Width of the vector that runs through all layers; must divide into the heads.
        heads: Attention heads; None means one for about every 64 of the width.
        kv_heads: Heads of keys and values, which must divide the heads; None means as many as
            heads.
        intermediate_size: Feed-forward channels; None means 8/3 of the width, rounded up to a
            multiple of 32, which with the gate are the weights of a plain part four times as wide.
        sequence_length: Longest text in tokens.
        tie: The output matrix is the embedding matrix. With a vocabulary of tens of thousands, a
            small model is mostly this matrix.
        seed: Of the random weights; the global random state is left as it was.

    Returns:
        A model in training mode.

    Raises:
        ValueError: Sizes that do not divide.

    Source: Touvron et al. 2023 (arXiv:2302.13971). Initial weights are wider than there by sqrt(768
        / width), to keep the size of activations at small widths.
    """
    config = language_transformer_config(
        len(tokenizer),
        layers=layers,
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=kv_heads,
        intermediate_size=intermediate_size,
        sequence_length=sequence_length,
        tie=tie,
    )
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).train()


def language_transformer_config(
    vocabulary: int,
    *,
    layers: int = 6,
    hidden_size: int = 384,
    heads: int | None = None,
    kv_heads: int | None = None,
    intermediate_size: int | None = None,
    sequence_length: int = 512,
    tie: bool = True,
) -> LlamaConfig:
    """The configuration of such a model, without special tokens.

    Args:
        vocabulary: Number of tokens.
        layers: See `build_language_transformer`, as all others.
        hidden_size: Width.
        heads: Attention heads, or None.
        kv_heads: Heads of keys and values, or None.
        intermediate_size: Feed-forward channels, or None.
        sequence_length: Longest text in tokens.
        tie: One matrix for input and output.

    Returns:
        The configuration, all sizes filled in.

    Raises:
        ValueError: Sizes that do not divide.

    Example:
        >>> config = language_transformer_config(1000, hidden_size=384)
        >>> config.num_attention_heads, config.intermediate_size
        (6, 1024)
    """
    heads = heads or _default_heads(hidden_size)
    kv_heads = kv_heads or heads
    if hidden_size % heads or (hidden_size // heads) % 2:
        raise ValueError(
            f"hidden_size {hidden_size} does not divide into {heads} heads of an even width, which "
            "rotary positions "
            "need: change one of them"
        )
    if heads % kv_heads:
        raise ValueError(
            f"{heads} heads cannot share {kv_heads} kv_heads evenly: change one of them"
        )
    channels = math.ceil(8 * hidden_size / 3 / CHANNELS_MULTIPLE) * CHANNELS_MULTIPLE
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate_size or channels,
        max_position_embeddings=sequence_length,
        initializer_range=REFERENCE_STD * math.sqrt(REFERENCE_WIDTH / hidden_size),
        tie_word_embeddings=tie,
        bos_token_id=None,
        eos_token_id=None,
    )


def _default_heads(hidden_size: int) -> int:
    """The number of heads that divides the width into even parts nearest to 64."""
    possible = [
        count
        for count in range(1, hidden_size + 1)
        if hidden_size % count == 0 and hidden_size // count % 2 == 0
    ]
    return min(
        possible, key=lambda count: abs(math.log(hidden_size / count / HEAD_WIDTH)), default=1
    )
