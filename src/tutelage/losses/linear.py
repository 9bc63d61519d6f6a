"""Output matrix and divergence in one: the loss of a language model without ever holding tokens x
vocabulary.

In: final states, the output matrix, the teacher's side, the tokens that stand there. Out: a
differentiable loss, and sums to report. Value and gradients are computed together, chunk by chunk,
in the forward pass, from closed forms: each chunk costs the matrix products (three, or four with a
teacher that comes as states) and a few passes over its logits, which are then forgotten. The passes
go over a few positions at a time, so that they find their logits in the cache: chunks are as large
as products like them, blocks as small as passes do.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tutelage.losses.linear_products import OutputRule, Products
from tutelage.losses.linear_terms import Terms
from tutelage.losses.plain import IGNORED_LABEL
from tutelage.losses.table import Divergence
from tutelage.losses.teacher_sides import DenseTeacher, HiddenTeacher, TeacherSide, require_fit

CHUNK_POSITIONS = 512
"""Positions at once in a product. Fewer, and the output matrix and its gradient are read too often:
with 64 the products take a sixth longer, with 256 a fiftieth; more, and memory is wasted."""
CHUNK_ELEMENTS = 2**23
"""With a small vocabulary, as many positions as this many logits hold: 32 MB in float32."""
BLOCK_ELEMENTS = 2**20
"""Logits that passes go over at once on a CPU: 4 MB in float32, which the cache keeps between
passes. Smaller blocks gain nothing, and threads then wait for each other too often where others
share the machine."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearLoss:
    """What a batch costs."""

    loss: Tensor
    """Scalar, differentiable: the weighted sum over positions divided by `total`."""
    soft: Tensor
    """Scalar, detached: weighted sum of the divergence times the squared loss temperature, in
    nats."""
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
    """sum_t w_t [soft_weight T^2 D(teacher, student) + (1 - soft_weight) CE(text)] / total, and its
    gradients.

    Only trained positions should be given: what is left out before the matrix product costs
    nothing. Where nothing requires a gradient none is computed. Gradients of the matrix are summed
    in float32 whatever the products' type.

    Args:
        hidden: Final states of the student, [P, H].
        weight: Its output matrix, [V, H]; may be tied to the embeddings.
        teacher: The teacher's side over the same positions; None: the cross-entropy alone.
        labels: The token that stands at each position, int64 [P]; -100 where none does: there the
            soft term weighs 1.
        divergence: D.
        loss_temperature: T, > 0. The cross-entropy to the text is at temperature 1.
        soft_weight: Between 0 and 1.
        weights: w, [P]; None weighs every position 1.
        total: What the sum is divided by: trained positions of the whole optimizer step.
        bias: Of the output matrix, [V].
        logit_scale: Logits are multiplied by this.
        soft_cap: Logits become cap * tanh(logits / cap).
        vocabulary: Ids from here on are padding rows of the matrix, masked on both sides; None:
            there are none.
        chunk_positions: Positions at once; None chooses by the vocabulary.

    Returns:
        The loss and two sums.

    Raises:
        ShapeMismatch: Positions, widths or vocabularies do not fit each other.
        ValueError: A weight or temperature is out of range, or the teacher's side cannot serve the
            divergence.

    Source: the gradient in the forward pass follows the idea of Hsu et al. 2024 (Liger,
        arXiv:2410.10989); the closed forms are in `losses.divergences`.
    """
    require_fit(
        hidden,
        weight,
        teacher,
        labels,
        divergence,
        loss_temperature,
        soft_weight,
        weights,
        vocabulary,
    )
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
        output=OutputRule(size, logit_scale, soft_cap),
        # Inside autocast products are in its type, as torch's own linear layer would do.
        product_type=(
            torch.get_autocast_dtype(hidden.device.type)
            if torch.is_autocast_enabled(hidden.device.type)
            else weight.dtype
        ),
        chunk=(chunk := chunk_positions or _even_chunk(len(hidden), size)),
        block=min(chunk, max(1, BLOCK_ELEMENTS // size)) if hidden.device.type == "cpu" else chunk,
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
    """Logits of every position over the vocabulary, [P, V], in float32 (float64 stays): the plain
    way, differentiable.

    Arguments as in `linear_divergence`; padding rows are cut off.
    """
    size = weight.shape[0] if vocabulary is None else vocabulary
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight[:size])
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if bias is not None:
        logits = logits + bias[:size]
    logits = logits * logit_scale if logit_scale != 1.0 else logits
    return logits if soft_cap is None else torch.tanh(logits / soft_cap) * soft_cap


def _even_chunk(positions: int, vocabulary: int) -> int:
    """Positions at once, so that all chunks are about as large: a small last one would cost nearly
    a whole one.
    """
    number = max(1, ceil(positions / max(CHUNK_POSITIONS, CHUNK_ELEMENTS // vocabulary)))
    return max(1, ceil(positions / number))


def _apply(hidden: Tensor, weight: Tensor, bias: Tensor | None, job: _Job) -> Any:
    return _LinearDivergence.apply(hidden, weight, bias, job)


class _LinearDivergence(torch.autograd.Function):
    """Carries gradients that were computed in the forward pass to the backward pass.

    They are handed over, not copied: the matrix gradient is the largest thing here. A second
    backward pass through the same graph computes them again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, job: _Job
    ) -> tuple[Tensor, ...]:
        ctx.job, ctx.needed = job, tuple(ctx.needs_input_grad[:3])
        ctx.save_for_backward(hidden, weight, bias)
        sums, ctx.gradients = job.run(hidden, weight, bias, gradients=True, needed=ctx.needed)
        soft, hard = sums[1].clone(), sums[2].clone()
        ctx.mark_non_differentiable(soft, hard)
        return sums[0].clone(), soft, hard

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the name of ctx
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            _, gradients = ctx.job.run(*ctx.saved_tensors, gradients=True, needed=ctx.needed)
        for gradient in gradients:
            if gradient is not None:
                gradient.mul_(grad_outputs[0])
        return (*gradients, None)


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
    output: OutputRule
    product_type: torch.dtype
    chunk: int
    block: int

    def run(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        gradients: bool,
        needed: tuple[bool, ...] = (True, True, True),
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Sums `[loss, soft, hard]` and, if wanted, gradients of the loss with respect to the three
        tensors.
        """
        with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
            products = Products(
                hidden,
                weight,
                bias,
                self.output,
                self.chunk,
                self.product_type,
                needed=needed if gradients else None,
            )
            terms = Terms.weighed(
                self.teacher,
                self.labels,
                divergence=self.divergence,
                loss_temperature=self.loss_temperature,
                soft_weight=self.soft_weight,
                weights=self.weights,
                total=self.total,
                dtype=products.dtype,
            )
            soft, hard = (
                torch.zeros(len(hidden), dtype=products.dtype, device=hidden.device)
                for _ in range(2)
            )
            whole = (
                self.teacher if isinstance(self.teacher, (DenseTeacher, HiddenTeacher)) else None
            )
            memory = (
                None
                if whole is None
                else whole.memory(min(self.chunk, len(hidden)), self.output.vocabulary)
            )
            for start in range(0, len(hidden), self.chunk):
                rows = slice(start, min(start + self.chunk, len(hidden)))
                chunk = products.multiply(rows)
                theirs = (
                    None if whole is None else whole.multiply(rows, self.output.vocabulary, memory)
                )
                for first in range(0, len(chunk), self.block):
                    here = slice(first, min(first + self.block, len(chunk)))
                    there = slice(start + here.start, start + here.stop)
                    block = products.logits(chunk[here])
                    their_block = (
                        None
                        if whole is None or theirs is None
                        else whole.logits(theirs[here], block.dtype)
                    )
                    soft[there], hard[there], slope = terms.of(
                        there, block, their_block, gradients=gradients
                    )
                    if gradients:
                        products.put(chunk[here], slope)
                if gradients:
                    products.add(rows, chunk)
            sums = self._sums(terms, soft, hard)
            return sums.to(products.dtype), products.finish() if gradients else []

    def _sums(self, terms: Terms, soft: Tensor, hard: Tensor) -> Tensor:
        """The loss, and what is reported beside it: both sums free of the mix."""
        hard = torch.where(self.labels != IGNORED_LABEL, hard, 0.0)
        loss = terms.soft_share * soft + terms.hard_share * hard
        weights = torch.ones_like(hard) if self.weights is None else self.weights.to(hard.dtype)
        return torch.stack(
            [loss.double().sum(), (weights * soft).double().sum(), (weights * hard).double().sum()]
        )
