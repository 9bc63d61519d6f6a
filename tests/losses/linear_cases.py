"""A batch with a teacher of every kind for the chunked loss, and the plain loss to compare with."""

from __future__ import annotations

import torch

from tutelage.losses import (
    BucketTeacher,
    DenseTeacher,
    Divergence,
    HiddenTeacher,
    SampledTeacher,
    linear_logits,
)

P, H, V = 7, 6, 11
FORWARD = Divergence()


class Case:
    """A batch with everything that a teacher can be."""

    def __init__(
        self, seed: int = 0, dtype: torch.dtype = torch.float64, positions: int = P, size: int = V
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        self.hidden, self.weight, self.bias = normal(positions, H), normal(size, H), normal(size)
        self.labels = torch.randint(0, size, (positions,), generator=generator)
        self.teacher_hidden, self.teacher_weight = normal(positions, 4), normal(size, 4)
        self.logprobs = (self.teacher_hidden @ self.teacher_weight.T).log_softmax(-1)
        self.weights = torch.rand(positions, generator=generator, dtype=torch.float64).to(dtype)

    def inputs(self) -> list[torch.Tensor]:
        return [tensor.clone().requires_grad_() for tensor in (self.hidden, self.weight, self.bias)]

    @property
    def dense(self) -> DenseTeacher:
        return DenseTeacher(self.logprobs)

    @property
    def states(self) -> HiddenTeacher:
        return HiddenTeacher(self.teacher_hidden, self.teacher_weight)

    def bucket(self, k: int) -> BucketTeacher:
        best = self.logprobs.topk(k)
        return BucketTeacher(best.indices, best.values)

    @property
    def sampled(self) -> SampledTeacher:
        """All ids, in another order, with two fillers."""
        generator = torch.Generator().manual_seed(0)
        order = torch.stack(
            [torch.randperm(self.logprobs.shape[1], generator=generator) for _ in self.logprobs]
        )
        probs = self.logprobs.exp().gather(-1, order)
        ids = torch.cat([order, order[:, :1] * 0, order[:, :1] * 0 + 3], dim=-1)
        entropies = -(self.logprobs.exp() * self.logprobs).sum(-1)
        return SampledTeacher(
            ids, torch.cat([probs, torch.zeros_like(probs[:, :2])], dim=-1), entropies
        )


def plain(case: Case, hidden, weight, bias, *, divergence=FORWARD, temperature=1.0,
          soft_weight=0.8, total=1.0,
          weights=None, teacher=True, labels=None, **head):  # fmt: skip
    labels = case.labels if labels is None else labels
    logits = linear_logits(hidden, weight, bias=bias, **head)
    log_q = logits.log_softmax(-1)
    there = labels >= 0
    hard = torch.where(there, -log_q.gather(-1, labels.clamp_min(0)[:, None])[:, 0], 0.0)
    if not teacher:
        costs = hard
    else:
        size = logits.shape[-1]
        logprobs = case.logprobs[:, :size].log_softmax(-1)
        soft = divergence(logits, logprobs, loss_temperature=temperature)
        costs = torch.where(there, soft_weight * soft + (1 - soft_weight) * hard, soft)
    return (costs if weights is None else costs * weights).sum() / total


def gradients(loss, inputs):
    return torch.autograd.grad(loss, inputs)
