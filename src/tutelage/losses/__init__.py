"""Losses: divergences per position, one place that averages, what students minimise, and float64
definitions.

For classes the plain functions are enough. For language models `linear_divergence` takes final
states and the output matrix and never holds tokens x vocabulary.
"""

from tutelage.losses.divergence import Divergence
from tutelage.losses.divergences import (
    IGNORED_LABEL,
    forward_kl,
    hard_cross_entropy,
    soft_cross_entropy,
)
from tutelage.losses.hidden_matching import hidden_matching
from tutelage.losses.language_divergences import (
    adaptive_kl,
    alpha_beta,
    jensen_shannon,
    reverse_kl,
    skew_forward_kl,
    skew_reverse_kl,
    total_variation,
)
from tutelage.losses.linear import LinearLoss, linear_divergence, linear_logits
from tutelage.losses.objective import ForwardKL
from tutelage.losses.reduction import reduce
from tutelage.losses.teacher_sides import (
    BucketTeacher,
    DenseTeacher,
    HiddenTeacher,
    SampledTeacher,
    TeacherSide,
)

__all__ = [
    "IGNORED_LABEL",
    "BucketTeacher",
    "DenseTeacher",
    "Divergence",
    "ForwardKL",
    "HiddenTeacher",
    "LinearLoss",
    "SampledTeacher",
    "TeacherSide",
    "adaptive_kl",
    "alpha_beta",
    "forward_kl",
    "hard_cross_entropy",
    "hidden_matching",
    "jensen_shannon",
    "linear_divergence",
    "linear_logits",
    "reduce",
    "reverse_kl",
    "skew_forward_kl",
    "skew_reverse_kl",
    "soft_cross_entropy",
    "total_variation",
]
