"""How a student is trained, and the learning rate of every step."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The numbers of a training run; defaults suit a student of a few million weights on short
    texts.
    """

    epochs: int = 10
    """Passes over the transfer set."""
    batch_size: int = 64
    """Rows in one batch."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW."""
    embedding_learning_rate: float | None = None
    """The same for token embeddings; None: equal to `learning_rate`."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on matrices only."""
    warmup_share: float = 0.1
    """Share of all steps during which the learning rate rises linearly."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    patience: int | None = None
    """Epochs without a better validation loss before stopping; None: train all epochs."""
    word_dropout: float = 0.0
    """Probability that an input token is replaced by the unknown token during training."""
    ema_decay: float | None = None
    """Decay of a moving average of the weights, which is then what is validated and saved; None: no
    average."""
    seed: int = 0
    """Of order, dropout and word dropout."""
    checkpoint_every_steps: int = 200
    """Optimizer steps between checkpoints; the end of an epoch always writes one."""
    gradient_accumulation: int = 1
    """Batches in one optimizer step."""


def learning_rate_scale(step: int, total_steps: int, *, warmup_share: float) -> float:
    """The share of the peak learning rate at a step: linear warm-up, then a cosine to zero.

    Args:
        step: 0 for the first step.
        total_steps: Steps of the whole run.
        warmup_share: Share of them that warms up.

    Returns:
        In (0, 1]. The first step is never 0, the last never quite 0, so none is wasted.

    Example:
        >>> [round(learning_rate_scale(step, 10, warmup_share=0.2), 2) for step in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 0.97, 0.5, 0.03]
    """
    warmup = round(warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup + 0.5) / max(1, total_steps - warmup)
    return 0.5 * (1 + cos(pi * min(1.0, share)))
