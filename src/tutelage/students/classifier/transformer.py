"""The transformer student: a stock encoder of transformers, so that others load it with nothing of
ours.

In: a tokenizer, class names, a size. Out: a fresh classifier with random weights. This file alone
decides which encoder class that is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import ModernBertConfig, ModernBertForSequenceClassification, PreTrainedModel

from tutelage.students.classifier.specs import Transformer
from tutelage.students.configurations import label_names

REFERENCE_STD = 0.02
REFERENCE_WIDTH = 768
HEAD_WIDTH = 32


def build_transformer(student: Transformer, tokenizer: Any, *, seed: int = 0) -> PreTrainedModel:
    """A fresh transformer student with random weights.

    ModernBERT, with full attention in every layer and the mean over tokens as the vector that is
    classified. It normalises before each sub-layer and averages over all tokens, both of which help
    when a few thousand short texts are all there is; its answer to one text takes no longer than
    that of BERT of the same shape (2 layers of 128: about 1.8 ms on one core, BERT 2.0 ms).

    Without a width given, the gated feed-forward part is twice as wide as a token, which with its
    gate has the weights of a plain one three times as wide. Dropout is that of embeddings,
    attention, feed-forward and classifier.

    Args:
        student: Its sizes and class names.
        tokenizer: The student's own; gives the vocabulary and the special tokens.
        seed: Of the random weights; the global random state is left as it was.

    Returns:
        A model in training mode.

    Raises:
        ValueError: The width does not divide into heads of even width.

    Source: Warner et al. 2024 (arXiv:2412.13663) for the encoder; we use no local attention, since
        texts are shorter than its window, and a rotary base of 10,000, since they are short.
        Initial weights are wider than in the original by sqrt(768 / width), to keep the size of
        activations at small widths.
    """
    hidden_size, dropout = student.hidden_size, student.dropout
    id2label, label2id = label_names(student.labels)
    rotary = {"rope_type": "default", "rope_theta": 10_000.0}
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=student.layers,
        num_attention_heads=attention_heads(hidden_size, student.heads),
        intermediate_size=student.intermediate_size or 2 * hidden_size,
        max_position_embeddings=student.max_length,
        layer_types=["full_attention"] * student.layers,
        rope_parameters={"full_attention": rotary, "sliding_attention": dict(rotary)},
        initializer_range=REFERENCE_STD * math.sqrt(REFERENCE_WIDTH / hidden_size),
        classifier_pooling="mean",
        embedding_dropout=dropout,
        attention_dropout=dropout,
        mlp_dropout=dropout,
        classifier_dropout=dropout,
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        id2label=id2label,
        label2id=label2id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModernBertForSequenceClassification(config).train()


def attention_heads(hidden_size: int, heads: int | None = None) -> int:
    """How many attention heads a width is divided among.

    Args:
        hidden_size: Width of a token.
        heads: As many as are wished for; None means one for every 32 of the width.

    Raises:
        ValueError: The width does not divide into the heads, or a head's width is odd, which its
            rotation forbids.

    Example:
        >>> attention_heads(192)
        6
    """
    chosen = heads or max(1, hidden_size // HEAD_WIDTH)
    advice = (
        "change one of them"
        if heads
        else f"give heads, or a hidden_size that is a multiple of {HEAD_WIDTH}"
    )
    if hidden_size % chosen:
        raise ValueError(f"hidden_size {hidden_size} does not divide into {chosen} heads: {advice}")
    if (hidden_size // chosen) % 2:
        raise ValueError(
            f"each of {chosen} heads would be {hidden_size // chosen} wide: give an even width per "
            f"head ({advice})"
        )
    return chosen
