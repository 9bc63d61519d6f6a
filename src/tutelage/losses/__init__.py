"""Losses: divergences per position, one place that averages, what students minimise, and float64 definitions."""

from tutelage.losses.divergences import IGNORED_LABEL, forward_kl, hard_cross_entropy, soft_cross_entropy
from tutelage.losses.objective import ForwardKL
from tutelage.losses.reduction import reduce

__all__ = ["IGNORED_LABEL", "ForwardKL", "forward_kl", "hard_cross_entropy", "reduce", "soft_cross_entropy"]
