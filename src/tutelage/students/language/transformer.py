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
from tutelage.students.language.specs import LanguageTransformer

HEAD_WIDTH = 64
CHANNELS_MULTIPLE = 32
"""Quantised formats store weights in blocks of so many."""


def build_language_transformer(
    student: LanguageTransformer,
    tokenizer: Any,
    *,
    sequence_length: int,
    tie: bool = True,
    seed: int = 0,
) -> LlamaForCausalLM:
    """A fresh Llama with random weights.

    Args:
        student: Its sizes.
        tokenizer: The teacher's; gives the vocabulary and the special tokens.
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
        student, len(tokenizer), tie=tie, max_position_embeddings=sequence_length
    )
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).train()


def language_transformer_config(
    student: LanguageTransformer, vocabulary: int, *, tie: bool = True, **settings: Any
) -> LlamaConfig:
    """The configuration of such a model, without special tokens and longest text.

    Without a width given, the feed-forward part has 8/3 of the width, rounded up to a multiple of
    32, which with the gate are the weights of a plain part four times as wide.

    Args:
        student: Its sizes.
        vocabulary: Number of tokens.
        tie: One matrix for input and output.
        **settings: Others, as `LlamaConfig` takes them.

    Returns:
        The configuration, all sizes filled in.

    Raises:
        ValueError: Sizes that do not divide.

    Example:
        >>> config = language_transformer_config(LanguageTransformer(hidden_size=384), 1000)
        >>> config.num_attention_heads, config.intermediate_size
        (6, 1024)
    """
    hidden_size = student.hidden_size
    heads = student.heads or _default_heads(hidden_size)
    kv_heads = student.kv_heads or heads
    if heads % kv_heads:
        raise ValueError(
            f"{heads} heads cannot share {kv_heads} kv_heads evenly: change one of them"
        )
    channels = math.ceil(8 * hidden_size / 3 / CHANNELS_MULTIPLE) * CHANNELS_MULTIPLE
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        num_hidden_layers=student.layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=student.intermediate_size or channels,
        initializer_range=REFERENCE_STD * math.sqrt(REFERENCE_WIDTH / hidden_size),
        tie_word_embeddings=tie,
        bos_token_id=None,
        eos_token_id=None,
        **settings,
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
