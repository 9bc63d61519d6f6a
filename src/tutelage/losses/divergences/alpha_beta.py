"""The alpha-beta divergence: how much likely classes count, of either side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from tutelage.losses.divergences.forms import Forms, softened
from tutelage.losses.table import TABLE

if TYPE_CHECKING:
    from jaxtyping import Float

_OF = TABLE["alpha_beta"].parameters


def alpha_beta(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    alpha: float = _OF["alpha"].default,
    beta: float = _OF["beta"].default,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """The alpha-beta divergence at every position.

    -1 / (alpha beta) sum [p^alpha q^beta - alpha / (alpha + beta) p^(alpha + beta) - beta / (alpha
    + beta) q^(alpha + beta)]. alpha says how much the teacher's likely tokens count, beta how much
    the student's own.

    Arguments, shapes and errors as for `jensen_shannon`; alpha and beta above 0.

    Source: Wang et al. 2025 (ABKD, arXiv:2505.04560), definition 1; Cichocki et al. 2011 (Entropy
        13).
    """
    if not (alpha > 0 and beta > 0):
        raise ValueError(f"alpha={alpha}, beta={beta} given; expected numbers above 0")
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    both = alpha + beta
    terms = (
        (alpha * log_p + beta * log_q).exp()
        - (alpha / both) * (both * log_p).exp()
        - (beta / both) * (both * log_q).exp()
    )
    return -terms.sum(dim=-1) / (alpha * beta) * loss_temperature**2


def closed_form(
    log_q: Tensor, log_p: Tensor, *, gradient: bool, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Value and gradient of a chunk; see `forms`."""
    q = log_q.exp()
    both = alpha + beta
    teacher = (both * log_p).exp_().sum(dim=-1)
    mixed, own = log_p.mul_(alpha).add_(log_q, alpha=beta).exp_(), log_q.mul_(both).exp_()
    terms = mixed.sum(dim=-1) - (alpha / both) * teacher - (beta / both) * own.sum(dim=-1)
    slope = mixed.sub_(own)
    total = slope.sum(dim=-1, keepdim=True)
    value = -terms / (alpha * beta)
    return value, slope.addcmul_(q, total, value=-1).mul_(-1 / alpha) if gradient else q


FORMS = Forms(alpha_beta, closed_form)
