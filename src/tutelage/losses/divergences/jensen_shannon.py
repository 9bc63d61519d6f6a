"""Jensen-Shannon: both sides against their mixture, bounded."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Forms, dot, log_mixture, require_share, softened
from tutelage.losses.table import TABLE

if TYPE_CHECKING:
    from jaxtyping import Float

_OF = TABLE["jensen_shannon"].parameters


def jensen_shannon(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    beta: float = _OF["beta"].default,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """Generalised Jensen-Shannon divergence, in nats: beta KL(p || m) + (1 - beta) KL(q || m).

    m = beta p + (1 - beta) q. It tends to zero at both ends of beta; divided by beta it tends to
    forward KL, by 1 - beta to reverse KL. Nothing is divided here, so that the value is the
    divergence of that name whatever beta.

    Args:
        student_logits: As for `reverse_kl`.
        teacher_logprobs: As for `reverse_kl`.
        beta: Weight of the teacher in the mixture, between 0 and 1.
        loss_temperature: As for `reverse_kl`.

    Returns:
        Nats per position times `loss_temperature` squared.

    Raises:
        ShapeMismatch: The two shapes differ.
        ValueError: The temperature or beta is out of range.

    Source: Agarwal et al. 2024 (GKD, arXiv:2306.13649), equation 1.
    """
    require_share("beta", beta)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    log_m = torch.logaddexp(log_p + log(beta), log_q + log(1 - beta))
    teacher_part = (log_p.exp() * (log_p - log_m)).sum(dim=-1)
    student_part = (log_q.exp() * (log_q - log_m)).sum(dim=-1)
    return (beta * teacher_part + (1 - beta) * student_part) * loss_temperature**2


def closed_form(
    log_q: Tensor, log_p: Tensor, *, gradient: bool, beta: float
) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q, p = log_q.exp(), log_p.exp()
    log_m = log_mixture(p, beta, q)
    ours, theirs = log_q.sub_(log_m), log_p.sub_(log_m)
    student_part = dot(q, ours)
    value = beta * dot(p, theirs) + (1 - beta) * student_part
    return value, q.mul_(ours.sub_(student_part[:, None]).mul_(1 - beta)) if gradient else q


FORMS = Forms(jensen_shannon, closed_form)
