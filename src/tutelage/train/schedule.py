"""How a language-model student is trained: its numbers, and what learning rate and soft weight are
at every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Schedule = Literal["cosine", "wsd"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class LanguageTrainSettings:
    """The numbers of a training run; defaults suit a student of some ten million weights."""

    epochs: int = 1
    """Passes over the training documents; counts for nothing beside a `token_budget`."""
    token_budget: int | None = None
    """Tokens read after which training ends, repeated ones counted again, in place of `epochs`;
    None: all epochs."""
    batch_tokens: int = 8192
    """Tokens in one optimizer step, of all processes together."""
    micro_batch_tokens: int = 2048
    """Tokens that go through the student at once; a matter of memory that changes no result but for
    rounding and the draws of dropout."""
    sequence_length: int = 512
    """The longest row; documents are packed up to it."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    embedding_learning_rate: float | None = None
    """The same for token embeddings (and the output matrix tied to them); None: equal to
    `learning_rate`."""
    schedule: Schedule = "cosine"
    """`cosine` to zero, or `wsd`: warm-up, stable, linear decay to zero over the last `decay_share`
    of the steps."""
    warmup_share: float = 0.05
    """Share of all steps during which the learning rate rises linearly."""
    decay_share: float = 0.2
    """Share of all steps that `wsd` decays over, and over which the soft weight moves to its final
    value."""
    weight_decay: float = 0.1
    """Decoupled weight decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's two moments."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    evaluate_every_steps: int | None = None
    """Optimizer steps between validations; None: at the end of every epoch."""
    checkpoint_every_steps: int = 100
    """Optimizer steps between checkpoints; the end of an epoch always writes one."""
    precision: Precision = "float32"
    """What matrix products are computed in; weights, softmax and optimizer stay in float32."""
    seed: int = 0
    """Of order, packing and dropout."""


def language_learning_rate_scale(
    step: int, total_steps: int, settings: LanguageTrainSettings
) -> float:
    """The share of the peak learning rate at a step.

    Args:
        step: 0 for the first step.
        total_steps: Steps of the whole run.
        settings: `schedule`, `warmup_share`, `decay_share`.

    Returns:
        In (0, 1]; never 0, so that no step is wasted.

    Source: warm-up, stable, decay: Hu et al. 2024 (MiniCPM, arXiv:2404.06395), section 4, with a
        linear decay as in Hagele et al. 2024 (arXiv:2405.18392).

    Example:
        >>> wsd = LanguageTrainSettings(schedule="wsd", warmup_share=0.2, decay_share=0.4)
        >>> [round(language_learning_rate_scale(step, 10, wsd), 2) for step in (0, 1, 5, 6, 9)]
        [0.5, 1.0, 1.0, 0.88, 0.12]
    """
    warmup = round(settings.warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "wsd":
        return 1.0 - decay_progress(step, total_steps, settings.decay_share)
    share = (step - warmup + 0.5) / max(1, total_steps - warmup)
    return 0.5 * (1 + cos(pi * min(1.0, share)))


def decay_progress(step: int, total_steps: int, decay_share: float) -> float:
    """How far a step is into the last `decay_share` of the run: 0 before it, rising towards 1 in
    it.
    """
    decay = max(1, round(decay_share * total_steps))
    return (
        min(1.0, max(0.0, (step - (total_steps - decay) + 0.5) / decay)) if decay_share > 0 else 0.0
    )


def soft_weight_at(
    step: int,
    total_steps: int,
    *,
    soft_weight: float,
    soft_weight_final: float | None,
    decay_share: float,
) -> float:
    """The weight of the soft targets at a step: constant, then linearly to its final value over the
    decay.

    Source: Peng et al. 2024 (arXiv:2410.16215), where a weight that falls together with the
        learning rate did best.
    """
    if soft_weight_final is None:
        return soft_weight
    share = decay_progress(step, total_steps, decay_share)
    return soft_weight + share * (soft_weight_final - soft_weight)
