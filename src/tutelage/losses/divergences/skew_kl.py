"""Both KL against a mixture of the two sides: forward, whose gradient is bounded, and reverse,
whose value is.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Forms, dot, log_mixture, require_share, softened
from tutelage.losses.table import TABLE

if TYPE_CHECKING:
    from jaxtyping import Float


_FORWARD = TABLE["skew_forward_kl"].parameters


def skew_forward_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    alpha: float = _FORWARD["alpha"].default,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(p || alpha p + (1 - alpha) q) at every position, in nats; its gradient is bounded where
    forward KL's is not.

    Arguments, shapes and errors as for `jensen_shannon`, with `alpha` the share of the teacher in
    the mixture.

    Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), section 3.1.
    """
    require_share("alpha", alpha)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    log_m = torch.logaddexp(log_p + log(alpha), log_q + log(1 - alpha))
    return (log_p.exp() * (log_p - log_m)).sum(dim=-1) * loss_temperature**2


def _closed_forward(
    log_q: Tensor, log_p: Tensor, *, gradient: bool, alpha: float
) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q, p = log_q.exp(), log_p.exp()
    gap = log_p.sub_(log_mixture(p, alpha, q))
    value = dot(p, gap)
    if not gradient:
        return value, q
    ratio = gap.exp_()  # p / m, at most 1 / alpha
    return value, q.mul_(ratio.sub_(dot(q, ratio)[:, None]).mul_(alpha - 1))


FORWARD_FORMS = Forms(skew_forward_kl, _closed_forward)


_REVERSE = TABLE["skew_reverse_kl"].parameters


def skew_reverse_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    alpha: float = _REVERSE["alpha"].default,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(q || (1 - alpha) p + alpha q) at every position, in nats, never above -log alpha.

    Arguments, shapes and errors as for `jensen_shannon`, with `alpha` the share of the student in
    the mixture.

    Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), section 3.1.
    """
    require_share("alpha", alpha)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    log_m = torch.logaddexp(log_p + log(1 - alpha), log_q + log(alpha))
    return (log_q.exp() * (log_q - log_m)).sum(dim=-1) * loss_temperature**2


def _closed_reverse(
    log_q: Tensor, log_p: Tensor, *, gradient: bool, alpha: float
) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q, p = log_q.exp(), log_p.exp()
    gap = log_q.sub_(log_mixture(p, 1 - alpha, q))
    value = dot(q, gap)
    if not gradient:
        return value, q
    slope = gap.sub_(gap.exp(), alpha=alpha)
    return value, q.mul_(slope.sub_(dot(q, slope)[:, None]))


REVERSE_FORMS = Forms(skew_reverse_kl, _closed_reverse)
