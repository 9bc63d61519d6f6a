"""The divergences of language models besides forward KL: one value a position, in nats, plain
PyTorch.

p is the teacher, q the student, both softened by the loss temperature; every value is multiplied by
its square. Nothing here masks, averages or shifts. These are the readable forms; `losses.linear`
computes the same without ever holding tokens x vocabulary, by the closed-form gradients of
`losses.closed_forms`, and tests hold one to the other.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.losses.divergences import softened

if TYPE_CHECKING:
    from jaxtyping import Float


def reverse_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(student || teacher) at every position, in nats: sum q log(q / p).

    It punishes the student for mass where the teacher has none, and forgives it for leaving modes
    out.

    Args:
        student_logits: Raw scores of any float type; computed in float32 (float64 stays).
        teacher_logprobs: Log-probabilities at temperature 1, finite wherever the student may put
            mass.
        loss_temperature: Softening, > 0.

    Returns:
        Nats per position times `loss_temperature` squared, >= 0 up to rounding.

    Raises:
        ShapeMismatch: The two shapes differ.
        ValueError: The temperature is not above 0.

    Source: Gu et al. 2024 (MiniLLM, arXiv:2306.08543), equation 1, at one position.
    """
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1) * loss_temperature**2


def jensen_shannon(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    beta: float = 0.5,
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
    _require_share("beta", beta)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    log_m = torch.logaddexp(log_p + log(beta), log_q + log(1 - beta))
    teacher_part = (log_p.exp() * (log_p - log_m)).sum(dim=-1)
    student_part = (log_q.exp() * (log_q - log_m)).sum(dim=-1)
    return (beta * teacher_part + (1 - beta) * student_part) * loss_temperature**2


def skew_forward_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    alpha: float = 0.1,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(p || alpha p + (1 - alpha) q) at every position, in nats; its gradient is bounded where
    forward KL's is not.

    Arguments, shapes and errors as for `jensen_shannon`, with `alpha` the share of the teacher in
    the mixture.

    Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), section 3.1.
    """
    _require_share("alpha", alpha)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    log_m = torch.logaddexp(log_p + log(alpha), log_q + log(1 - alpha))
    return (log_p.exp() * (log_p - log_m)).sum(dim=-1) * loss_temperature**2


def skew_reverse_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    alpha: float = 0.1,
    loss_temperature: float = 1.0,
) -> Float[Tensor, "*B"]:
    """KL(q || (1 - alpha) p + alpha q) at every position, in nats, never above -log alpha.

    Arguments, shapes and errors as for `jensen_shannon`, with `alpha` the share of the student in
    the mixture.

    Source: Ko et al. 2024 (DistiLLM, arXiv:2402.03898), section 3.1.
    """
    _require_share("alpha", alpha)
    log_q, log_p = softened(student_logits, teacher_logprobs, loss_temperature)
    log_m = torch.logaddexp(log_p + log(1 - alpha), log_q + log(alpha))
    return (log_q.exp() * (log_q - log_m)).sum(dim=-1) * loss_temperature**2


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


def alpha_beta(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    alpha: float = 0.2,
    beta: float = 0.7,
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


def adaptive_kl(
    student_logits: Float[Tensor, "*B V"],
    teacher_logprobs: Float[Tensor, "*B V"],
    *,
    head_mass: float = 0.5,
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
    _require_share("head_mass", head_mass)
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


def _require_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(
            f"{name}={value} given; expected a number between 0 and 1, the ends excluded"
        )
