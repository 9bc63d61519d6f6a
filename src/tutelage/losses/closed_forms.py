"""Values and gradients of the divergences in closed form, for one chunk of positions.

For a loss L(q) with g_j = dL / dq_j, the gradient with respect to the logits is q_j (g_j - sum_i
q_i g_i). Written out for each divergence this takes a few passes over the chunk and no autograd
graph. p is the teacher, q the student, at the loss temperature; gradients are with respect to the
softened logits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.losses.divergence import Divergence
from tutelage.losses.language_divergences import head_share
from tutelage.losses.teacher_sides import BucketTeacher

_SMALLEST_TAIL = 1e-12
"""A tail bucket counts as holding at least this: below it a float32 sum says nothing."""


def value_and_gradient(
    divergence: Divergence, log_q: Tensor, log_p: Tensor, *, gradient: bool = True
) -> tuple[Tensor, Tensor]:
    """A divergence of whole distributions and its gradient.

    Args:
        divergence: Which.
        log_q: The student's log-probabilities, [C, V], finite; written over.
        log_p: The teacher's, [C, V], finite; written over.
        gradient: Whether the gradient is wanted; if not it is not computed and what is returned
            there says nothing.

    Returns:
        Values [C] in nats, and gradients [C, V] with respect to the student's softened logits.

    Source: the general rule is the derivative of softmax; each line was checked against finite
        differences in float64.
    """
    parameters = divergence.parameters
    q, p = log_q.exp(), log_p.exp()
    match divergence.name:
        case "forward_kl":
            value = _dot(p, log_p.sub_(log_q))
            return value, q.sub_(p) if gradient else q
        case "reverse_kl":
            ratio = log_q.sub_(log_p)
            value = _dot(q, ratio)
            return value, q.mul_(ratio.sub_(value[:, None])) if gradient else q
        case "jensen_shannon":
            beta = parameters["beta"]
            log_m = _log_mixture(p, beta, q)
            ours, theirs = log_q.sub_(log_m), log_p.sub_(log_m)
            student_part = _dot(q, ours)
            value = beta * _dot(p, theirs) + (1 - beta) * student_part
            return value, q.mul_(ours.sub_(student_part[:, None]).mul_(1 - beta)) if gradient else q
        case "skew_forward_kl":
            alpha = parameters["alpha"]
            gap = log_p.sub_(_log_mixture(p, alpha, q))
            value = _dot(p, gap)
            if not gradient:
                return value, q
            ratio = gap.exp_()  # p / m, at most 1 / alpha
            return value, q.mul_(ratio.sub_(_dot(q, ratio)[:, None]).mul_(alpha - 1))
        case "skew_reverse_kl":
            alpha = parameters["alpha"]
            gap = log_q.sub_(_log_mixture(p, 1 - alpha, q))
            value = _dot(q, gap)
            if not gradient:
                return value, q
            slope = gap.sub_(gap.exp(), alpha=alpha)
            return value, q.mul_(slope.sub_(_dot(q, slope)[:, None]))
        case "total_variation":
            gap = torch.sub(q, p, out=log_q)
            value = 0.5 * gap.abs().sum(dim=-1)
            signs = gap.sign_()
            return value, q.mul_(signs.sub_(_dot(q, signs)[:, None]).mul_(0.5)) if gradient else q
        case "alpha_beta":
            alpha, beta = parameters["alpha"], parameters["beta"]
            both = alpha + beta
            teacher = (both * log_p).exp_().sum(dim=-1)
            mixed, own = log_p.mul_(alpha).add_(log_q, alpha=beta).exp_(), log_q.mul_(both).exp_()
            terms = mixed.sum(dim=-1) - (alpha / both) * teacher - (beta / both) * own.sum(dim=-1)
            slope = mixed.sub_(own)
            total = slope.sum(dim=-1, keepdim=True)
            value = -terms / (alpha * beta)
            return value, slope.addcmul_(q, total, value=-1).mul_(-1 / alpha) if gradient else q
        case "adaptive_kl":
            share = head_share(p, q, parameters["head_mass"])
            ratio = log_q.sub_(log_p)
            reverse = _dot(q, ratio)
            value = -share * _dot(p, ratio) + (1 - share) * reverse
            if not gradient:
                return value, q
            forward_gradient = torch.sub(q, p, out=p)
            reverse_gradient = q.mul_(ratio.sub_(reverse[:, None]))
            return value, forward_gradient.lerp_(reverse_gradient, (1 - share)[:, None])
        case name:
            raise AssertionError(name)


def bucket_value_and_gradient(
    divergence: Divergence,
    probs: Tensor,
    teacher: BucketTeacher,
    rows: slice,
    *,
    gradient: bool = True,
) -> tuple[Tensor, Tensor]:
    """Forward or reverse KL over K + 1 buckets, and its gradient.

    Args:
        divergence: `forward_kl` or `reverse_kl`.
        probs: The student's probabilities, [C, V]; written over.
        teacher: The buckets.
        rows: Which of its positions.
        gradient: Whether the gradient is wanted; if not it is not computed and what is returned
            there says nothing.

    Returns:
        Values [C] in nats, and gradients [C, V] with respect to the student's logits, in the memory
        of `probs`.

    Source: the data-processing form of KL over a partition; gradients by the general rule.
    """
    logprobs = teacher.logprobs[rows].to(probs.dtype)
    real = torch.isfinite(logprobs)
    # Where a row has fewer entries, its first one stands in: reading and writing it again changes
    # nothing.
    ids = torch.where(real, teacher.ids[rows], teacher.ids[rows, :1])
    logprobs = torch.where(real, logprobs, logprobs[:, :1])
    p, q = logprobs.exp(), probs.gather(-1, ids)
    p_tail = (1 - torch.where(real, p, 0.0).sum(dim=-1)).clamp_min_(0.0)
    q_tail = probs.scatter_(-1, ids, 0.0).sum(dim=-1).clamp_min_(_SMALLEST_TAIL)
    log_q = q.clamp_min(torch.finfo(q.dtype).tiny).log()
    tail_gap = p_tail.clamp_min(_SMALLEST_TAIL).log() - q_tail.log()  # log of p_tail / q_tail
    if divergence.name == "forward_kl":
        value = torch.where(real, p * (logprobs - log_q), 0.0).sum(dim=-1) + p_tail * tail_gap
        head = q - p
        tail = 1 - p_tail / q_tail
    elif divergence.name == "reverse_kl":
        ratio = log_q - logprobs
        value = torch.where(real, q * ratio, 0.0).sum(dim=-1) - q_tail * tail_gap
        head = q * (ratio - value[:, None])
        tail = -tail_gap - value
    else:
        raise ValueError(
            f"{divergence.name} cannot be had from the most likely tokens and a tail bucket; they "
            "serve forward_kl and "
            "reverse_kl. Use targets of kind hidden or live"
        )
    return value, probs.mul_(tail[:, None]).scatter_(-1, ids, head) if gradient else probs


def _log_mixture(p: Tensor, share: float, q: Tensor) -> Tensor:
    """log(share p + (1 - share) q), in new memory; finite also where both sides have underflown."""
    mixture = torch.mul(p, share).add_(q, alpha=1 - share)
    return mixture.clamp_min_(torch.finfo(p.dtype).tiny).log_()


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Row by row. A product and a sum are twice as fast as `einsum`, and summed pairwise."""
    return (left * right).sum(dim=-1)
