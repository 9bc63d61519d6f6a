"""What learning rate and soft weight are at every step of a run."""

from __future__ import annotations

from math import cos, pi
from typing import Literal


def learning_rate_scale(
    step: int,
    total_steps: int,
    *,
    warmup_share: float,
    schedule: Literal["cosine", "wsd"] = "cosine",
    decay_share: float = 0.0,
) -> float:
    """The share of the peak learning rate at a step: linear warm-up, then down to zero.

    Args:
        step: 0 for the first step.
        total_steps: Steps of the whole run.
        warmup_share: Share of them that warms up.
        schedule: `cosine`, or `wsd` (warm-up, stable, decay): held, then lowered linearly.
        decay_share: Share of all steps that `wsd` decays over.

    Returns:
        In (0, 1]. The first step is never 0, the last never quite 0, so none is wasted.

    Source: warm-up, stable, decay: Hu et al. 2024 (MiniCPM, arXiv:2404.06395), section 4, with a
        linear decay as in Hagele et al. 2024 (arXiv:2405.18392).

    Example:
        >>> [round(learning_rate_scale(step, 10, warmup_share=0.2), 2) for step in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 0.97, 0.5, 0.03]
        >>> wsd = {"warmup_share": 0.2, "schedule": "wsd", "decay_share": 0.4}
        >>> [round(learning_rate_scale(step, 10, **wsd), 2) for step in (0, 1, 5, 6, 9)]
        [0.5, 1.0, 1.0, 0.88, 0.12]
    """
    warmup = round(warmup_share * total_steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "wsd":
        return 1.0 - decay_progress(step, total_steps, decay_share)
    share = (step - warmup + 0.5) / max(1, total_steps - warmup)
    return 0.5 * (1 + cos(pi * min(1.0, share)))


def decay_progress(step: int, total_steps: int, decay_share: float) -> float:
    """How far a step is into the last `decay_share` of the run: 0 before it, then towards 1."""
    if decay_share <= 0:
        return 0.0
    decay = max(1, round(decay_share * total_steps))
    return min(1.0, max(0.0, (step - (total_steps - decay) + 0.5) / decay))


def soft_weight_at(
    step: int,
    total_steps: int,
    *,
    soft_weight: float,
    soft_weight_final: float | None,
    decay_share: float,
) -> float:
    """The weight of the soft targets at a step: held, then linearly to its last over the decay.

    Source: Peng et al. 2024 (arXiv:2410.16215), where a weight that falls together with the
        learning rate did best.
    """
    if soft_weight_final is None:
        return soft_weight
    share = decay_progress(step, total_steps, decay_share)
    return soft_weight + share * (soft_weight_final - soft_weight)
