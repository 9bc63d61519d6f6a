"""Forward and reverse KL, mixed by where the student is further off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Forms, dot, require_share, softened
from tutelage.losses.table import TABLE

if TYPE_CHECKING:
    from jaxtyping import Float

_OF = TABLE["adaptive_kl"].parameters


def adaptive_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    head_mass: float = _OF["head_mass"].default,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """A mix of forward and reverse KL at every position, in nats, by where the student is further
    off.

    The head are the teacher's most likely tokens that reach `head_mass` together. Forward KL weighs
    as much as the head's share of sum |p - q|, reverse KL as much as the tail's; the weights are
    constants to the gradient.

    Arguments, shapes and errors as for `jensen_shannon`.

    Source: Wu et al. 2024 (AKL, arXiv:2404.02657), section 4.
    """
    require_share("head_mass", head_mass)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    p, q = log_p.exp(), log_q.exp()
    share = head_share(p.detach(), q.detach(), head_mass)
    forward, reverse = (p * (log_p - log_q)).sum(dim=-1), (q * (log_q - log_p)).sum(dim=-1)
    return (share * forward + (1 - share) * reverse) * loss_temperature**2


def head_share(p: Tensor, q: Tensor, head_mass: float) -> Tensor:
    """The head's share of sum |p - q|, [*B]; one half where both sides agree.

    Args:
        p: The teacher's probabilities [*B, V].
        q: The student's, alike.
        head_mass: The mass that the teacher's most likely tokens must reach to be the head.
    """
    ordered, places = p.sort(dim=-1, descending=True)
    is_head = ordered.cumsum(dim=-1) - ordered < head_mass
    gaps = (p - q).abs_().gather(-1, places)
    total = gaps.sum(dim=-1)
    head = (gaps * is_head).sum(dim=-1)
    return torch.where(total > 0, head / total.clamp_min(torch.finfo(total.dtype).tiny), 0.5)


def closed_form(
    log_q: Tensor, log_p: Tensor, *, gradient: bool, head_mass: float
) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q, p = log_q.exp(), log_p.exp()
    share = head_share(p, q, head_mass)
    ratio = log_q.sub_(log_p)
    reverse = dot(q, ratio)
    value = -share * dot(p, ratio) + (1 - share) * reverse
    if not gradient:
        return value, q
    forward_gradient = torch.sub(q, p, out=p)
    reverse_gradient = q.mul_(ratio.sub_(reverse[:, None]))
    return value, forward_gradient.lerp_(reverse_gradient, (1 - share)[:, None])


FORMS = Forms(adaptive_kl, closed_form)
