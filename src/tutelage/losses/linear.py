"""Output matrix and divergence in one: the loss of a language model without ever holding tokens x vocabulary.

In: final states, the output matrix, the teacher's side, the tokens that stand there. Out: a differentiable loss, and
sums to report. Value and gradients are computed together, chunk by chunk, in the forward pass, from closed forms: each
chunk costs the matrix products (three, or four with a teacher that comes as states) and a few passes over its logits,
which are then forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from tutelage.losses.closed_forms import bucket_value_and_gradient, value_and_gradient
from tutelage.losses.divergence import Divergence
from tutelage.losses.divergences import IGNORED_LABEL
from tutelage.losses.linear_checks import require_fit
from tutelage.losses.linear_products import Head, Products
from tutelage.losses.teacher_sides import BucketTeacher, DenseTeacher, HiddenTeacher, SampledTeacher, TeacherSide

CHUNK_ELEMENTS = 2**23
"""Logits held at once: 32 MB in float32. Fewer, and the output matrix is read too often; more, and memory is wasted."""
_LOWEST_LOGPROB = -1e4
"""Stands for minus infinity where 0 times infinity would be not a number."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearLoss:
    """What a batch costs."""

    loss: Tensor
    """Scalar, differentiable: the weighted sum over positions divided by `total`."""
    soft: Tensor
    """Scalar, detached: weighted sum of the divergence times the squared loss temperature, in nats."""
    hard: Tensor
    """Scalar, detached: weighted sum of the cross-entropy to the text, in nats."""


@torch.compiler.disable
def linear_divergence(
    hidden: Tensor,
    weight: Tensor,
    *,
    teacher: TeacherSide | None,
    labels: Tensor,
    divergence: Divergence = Divergence(),  # noqa: B008 - frozen
    loss_temperature: float = 1.0,
    soft_weight: float = 0.8,
    weights: Tensor | None = None,
    total: float,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    soft_cap: float | None = None,
    vocabulary: int | None = None,
    chunk_positions: int | None = None,
) -> LinearLoss:
    """sum_t w_t [soft_weight T^2 D(teacher, student) + (1 - soft_weight) CE(text)] / total, and its gradients.

    Only trained positions should be given: what is left out before the matrix product costs nothing. Where nothing
    requires a gradient none is computed. Gradients of the matrix are summed in float32 whatever the products' type.

    Args:
        hidden: Final states of the student, [P, H].
        weight: Its output matrix, [V, H]; may be tied to the embeddings.
        teacher: The teacher's side over the same positions; None: the cross-entropy alone.
        labels: The token that stands at each position, int64 [P]; -100 where none does: there the soft term weighs 1.
        divergence: D.
        loss_temperature: T, > 0. The cross-entropy to the text is at temperature 1.
        soft_weight: Between 0 and 1.
        weights: w, [P]; None weighs every position 1.
        total: What the sum is divided by: trained positions of the whole optimizer step.
        bias: Of the output matrix, [V].
        logit_scale: Logits are multiplied by this.
        soft_cap: Logits become cap * tanh(logits / cap).
        vocabulary: Ids from here on are padding rows of the matrix, masked on both sides; None: there are none.
        chunk_positions: Positions at once; None chooses by the vocabulary.

    Returns:
        The loss and two sums.

    Raises:
        ShapeMismatch: Positions, widths or vocabularies do not fit each other.
        ValueError: A weight or temperature is out of range, or the teacher's side cannot serve the divergence.

    Source: the gradient in the forward pass follows the idea of Hsu et al. 2024 (Liger, arXiv:2410.10989); the closed
        forms are in `losses.closed_forms`.
    """
    require_fit(hidden, weight, teacher, labels, divergence, loss_temperature, soft_weight, weights, vocabulary)
    inputs = (hidden, weight, *(() if bias is None else (bias,)))
    wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    size = weight.shape[0] if vocabulary is None else vocabulary
    job = _Job(
        teacher=teacher,
        labels=labels,
        divergence=divergence,
        loss_temperature=loss_temperature,
        soft_weight=soft_weight,
        weights=weights,
        total=total or 1.0,
        head=Head(size, logit_scale, soft_cap),
        # Inside autocast products are in its type, as torch's own linear layer would do.
        product_type=(
            torch.get_autocast_dtype(hidden.device.type)
            if torch.is_autocast_enabled(hidden.device.type)
            else weight.dtype
        ),
        chunk=chunk_positions or max(1, CHUNK_ELEMENTS // size),
    )
    if not wants_gradient:
        sums, _ = job.run(hidden, weight, bias, gradients=False)
        return LinearLoss(sums[0], sums[1], sums[2])
    loss, soft, hard = cast("tuple[Tensor, Tensor, Tensor]", _apply(hidden, weight, bias, job))
    return LinearLoss(loss, soft, hard)


def linear_logits(
    hidden: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    soft_cap: float | None = None,
    vocabulary: int | None = None,
) -> Tensor:
    """Logits of every position over the vocabulary, [P, V], in float32 (float64 stays): the plain way, differentiable.

    Arguments as in `linear_divergence`; padding rows are cut off.
    """
    size = weight.shape[0] if vocabulary is None else vocabulary
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight[:size])
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if bias is not None:
        logits = logits + bias[:size]
    logits = logits * logit_scale if logit_scale != 1.0 else logits
    return logits if soft_cap is None else torch.tanh(logits / soft_cap) * soft_cap


def _apply(hidden: Tensor, weight: Tensor, bias: Tensor | None, job: _Job) -> Any:
    return _LinearDivergence.apply(hidden, weight, bias, job)


class _LinearDivergence(torch.autograd.Function):
    """Carries gradients that were computed in the forward pass to the backward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, job: _Job) -> tuple[Tensor, ...]:
        sums, gradients = job.run(hidden, weight, bias, gradients=True, needed=tuple(ctx.needs_input_grad[:3]))
        ctx.save_for_backward(*gradients)
        soft, hard = sums[1].clone(), sums[2].clone()
        ctx.mark_non_differentiable(soft, hard)
        return sums[0].clone(), soft, hard

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        found = [None if gradient is None else gradient * grad_outputs[0] for gradient in ctx.saved_tensors]
        return (*found, None)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """Everything about a batch but the tensors that learn."""

    teacher: TeacherSide | None
    labels: Tensor
    divergence: Divergence
    loss_temperature: float
    soft_weight: float
    weights: Tensor | None
    total: float
    head: Head
    product_type: torch.dtype
    chunk: int

    def run(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        gradients: bool,
        needed: tuple[bool, ...] = (True, True, True),
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Sums `[loss, soft, hard]` and, if wanted, gradients of the loss with respect to the three tensors."""
        with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
            products = Products(
                hidden, weight, bias, self.head, self.chunk, self.product_type, needed=needed if gradients else None
            )
            sums = torch.zeros(3, dtype=torch.float64, device=hidden.device)
            for start in range(0, len(hidden), self.chunk):
                rows = slice(start, min(start + self.chunk, len(hidden)))
                logits = products.logits(rows)
                soft_share, hard_share = self._shares(rows, logits.dtype)
                soft, hard, slope = self._chunk(rows, logits, soft_share, hard_share, gradients=gradients)
                sums += torch.stack(
                    [(soft_share * soft + hard_share * hard).sum(), *self._reported(rows, soft, hard)]
                ).double()
                if gradients:
                    products.add(rows, slope)
            sums[0] /= self.total
            return sums.to(products.dtype), products.finish() if gradients else []

    def _shares(self, rows: slice, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weights of the soft and of the hard term at every position of a chunk."""
        labelled = (self.labels[rows] != IGNORED_LABEL).to(dtype)
        if self.teacher is None:
            soft, hard = torch.zeros_like(labelled), labelled
        else:
            hard = labelled * (1 - self.soft_weight)
            soft = 1 - hard
        if self.weights is None:
            return soft, hard
        weights = self.weights[rows].to(dtype)
        return soft * weights, hard * weights

    def _reported(self, rows: slice, soft: Tensor, hard: Tensor) -> tuple[Tensor, Tensor]:
        labelled = self.labels[rows] != IGNORED_LABEL
        weights = torch.ones_like(hard) if self.weights is None else self.weights[rows].to(hard.dtype)
        return (weights * soft).sum(), (weights * torch.where(labelled, hard, 0.0)).sum()

    def _chunk(
        self, rows: slice, logits: Tensor, soft_share: Tensor, hard_share: Tensor, *, gradients: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Divergence (times T^2) and cross-entropy at each position, and the gradient of the loss by the logits.

        `logits` is written over; the gradient is divided by the total.
        """
        labels = self.labels[rows].clamp_min(0)[:, None]
        scale = 1 / self.total
        at_label = logits.gather(-1, labels)[:, 0]
        linear = self.divergence.name == "forward_kl" and self.loss_temperature == 1.0
        if self.teacher is None or (linear and not isinstance(self.teacher, BucketTeacher)):
            return self._linear_chunk(rows, logits, at_label, labels, soft_share, hard_share, gradients=gradients)

        temperature = self.loss_temperature
        if isinstance(self.teacher, BucketTeacher):
            log_normaliser = torch.logsumexp(logits, dim=-1)
            probs = logits.sub_(log_normaliser[:, None]).exp_()
            hard_part = probs.clone() if gradients and bool(hard_share.any()) else None
            soft, slope = bucket_value_and_gradient(self.divergence, probs, self.teacher, rows)
        else:
            assert isinstance(self.teacher, (DenseTeacher, HiddenTeacher))
            log_normaliser = torch.logsumexp(logits, dim=-1)
            hard_part = None
            if gradients and bool(hard_share.any()):
                hard_part = (logits - log_normaliser[:, None]).exp_()
            teacher_logits = self.teacher.logits(rows.start, rows.stop, logits.shape[1], logits.dtype)
            log_p = torch.log_softmax(teacher_logits.div_(temperature), dim=-1).clamp_min_(_LOWEST_LOGPROB)
            log_q = torch.log_softmax(logits.div_(temperature), dim=-1).clamp_min_(_LOWEST_LOGPROB)
            soft, slope = value_and_gradient(self.divergence, log_q, log_p)
            soft = soft * temperature**2
        hard = log_normaliser - at_label
        if gradients:
            slope.mul_((soft_share * temperature * scale)[:, None])
            if hard_part is not None:
                hard_part.scatter_add_(-1, labels, torch.full_like(labels, -1, dtype=hard_part.dtype))
                slope.addcmul_(hard_part, (hard_share * scale)[:, None])
        return soft, hard, slope

    def _linear_chunk(
        self,
        rows: slice,
        logits: Tensor,
        at_label: Tensor,
        labels: Tensor,
        soft_share: Tensor,
        hard_share: Tensor,
        *,
        gradients: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The case that is linear in the teacher, forward KL at temperature 1: one softmax serves both terms.

        The gradient is (soft + hard) q - soft p - hard onehot; p comes sampled, whole, or not at all.
        """
        teacher = self.teacher
        expected = torch.zeros_like(at_label)  # sum of p z
        negative_entropy = torch.zeros_like(at_label)
        probs = mass = None
        if isinstance(teacher, SampledTeacher):
            ids, mass = teacher.ids[rows], teacher.probs[rows].to(logits.dtype)
            expected = (mass * logits.gather(-1, ids)).sum(dim=-1)
            negative_entropy = -teacher.entropies[rows].to(logits.dtype)
        elif teacher is not None:
            assert isinstance(teacher, (DenseTeacher, HiddenTeacher))
            theirs = teacher.logits(rows.start, rows.stop, logits.shape[1], logits.dtype)
            theirs.sub_(theirs.amax(dim=-1, keepdim=True)).clamp_min_(_LOWEST_LOGPROB)
            probs = theirs.exp()
            their_sum = probs.sum(dim=-1)
            expected = _dot(probs, logits) / their_sum
            negative_entropy = _dot(probs, theirs) / their_sum - their_sum.log()
            del theirs
            probs.mul_((soft_share / self.total / their_sum)[:, None])
        highest = logits.amax(dim=-1)
        own = logits.sub_(highest[:, None]).exp_()
        own_sum = own.sum(dim=-1)
        log_normaliser = highest + own_sum.log()
        hard = log_normaliser - at_label
        soft = torch.zeros_like(hard) if teacher is None else negative_entropy + log_normaliser - expected
        if gradients:
            own.mul_(((soft_share + hard_share) / self.total / own_sum)[:, None])
            if probs is not None:
                own.sub_(probs)
            elif isinstance(teacher, SampledTeacher):
                assert mass is not None
                own.scatter_add_(-1, teacher.ids[rows], mass * (-soft_share / self.total)[:, None])
            own.scatter_add_(-1, labels, (-hard_share / self.total)[:, None])
        return soft, hard, own


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("cv,cv->c", left, right)
