"""Total variation: half of what has to be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences.forms import Forms, dot, softened

if TYPE_CHECKING:
    from jaxtyping import Float


def total_variation(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """Half the sum of |p - q| at every position, in [0, 1] at temperature 1.

    Arguments, shapes and errors as for `reverse_kl`; times `loss_temperature` squared as all
    others.

    Source: Wen et al. 2023 (f-DISTILL, arXiv:2307.15190), section 3.
    """
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    return 0.5 * (log_p.exp() - log_q.exp()).abs().sum(dim=-1) * loss_temperature**2


def closed_form(log_q: Tensor, log_p: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q, p = log_q.exp(), log_p.exp()
    gap = torch.sub(q, p, out=log_q)
    value = 0.5 * gap.abs().sum(dim=-1)
    signs = gap.sign_()
    return value, q.mul_(signs.sub_(dot(q, signs)[:, None]).mul_(0.5)) if gradient else q


FORMS = Forms(total_variation, closed_form)
