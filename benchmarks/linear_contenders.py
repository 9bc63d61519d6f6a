"""Those who compute the loss of `linear_divergence.py`: ours, plain PyTorch, TRL, Liger, and the
bare products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

POSITIONS, WIDTH, KEPT = 2048, 576, 12
BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jensen_shannon": 0.5}
"""How TRL and Liger name the divergences; for both 0.5 is the symmetric one."""
Step = Callable[[], Tensor]


class Batch:
    """The inputs, the same in every process."""

    def __init__(
        self, positions: int, vocabulary: int, *, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        def there(tensor: Tensor) -> Tensor:
            return tensor.to(
                device, getattr(torch, dtype) if tensor.is_floating_point() else tensor.dtype
            )

        hidden, weight = normal(positions, WIDTH), normal(vocabulary, WIDTH).mul_(0.1)
        self.teacher_hidden = there(hidden + 0.3 * normal(positions, WIDTH))
        self.teacher_weight = there(weight + 0.02 * normal(vocabulary, WIDTH))
        self.hidden, self.weight = there(hidden).requires_grad_(), there(weight).requires_grad_()
        self.labels = there(torch.randint(0, vocabulary, (positions,), generator=generator))
        self.ids = there(torch.randint(0, vocabulary, (positions, KEPT), generator=generator))
        probs = torch.rand(positions, KEPT, generator=generator)
        self.probs = (probs / probs.sum(-1, keepdim=True)).to(device)

    def cleared(self) -> None:
        self.hidden.grad = self.weight.grad = None


def plain(batch: Batch, divergence: Any) -> Step:
    """What one writes first: both logits, both log-softmaxes, `kl_div`."""

    def step() -> Tensor:
        log_q = functional.log_softmax(
            functional.linear(batch.hidden, batch.weight).float(), dim=-1
        )
        if divergence == "sampled":
            return -(batch.probs * log_q.gather(-1, batch.ids)).sum() / len(batch.hidden)
        with torch.no_grad():
            teacher_logits = functional.linear(batch.teacher_hidden, batch.teacher_weight)
            log_p = functional.log_softmax(teacher_logits.float(), dim=-1)
        kl = {"reduction": "sum", "log_target": True}
        if divergence == "forward_kl":
            loss = functional.kl_div(log_q, log_p, **kl)
        elif divergence == "reverse_kl":
            loss = functional.kl_div(log_p, log_q, **kl)
        else:
            log_m = torch.log(0.5 * log_q.exp() + 0.5 * log_p.exp())
            loss = 0.5 * functional.kl_div(log_m, log_p, **kl) + 0.5 * functional.kl_div(
                log_m, log_q, **kl
            )
        return loss / len(batch.hidden)

    return step


def trl_logits(batch: Batch, divergence: Any) -> Step:
    """`GKDTrainer.generalized_jsd_loss`, over whole logits."""
    from trl.experimental.gkd.gkd_trainer import GKDTrainer  # pyright: ignore[reportMissingImports]

    def step() -> Tensor:
        logits = functional.linear(batch.hidden, batch.weight)
        with torch.no_grad():
            teacher_logits = functional.linear(batch.teacher_hidden, batch.teacher_weight)
        return GKDTrainer.generalized_jsd_loss(
            logits[None], teacher_logits[None], labels=batch.labels[None], beta=BETAS[divergence]
        )

    return step


def trl_chunked(batch: Batch, divergence: Any) -> Step:
    """`DistillationTrainer`'s loss, in tiles; on a CPU its kernels are plain torch, on a GPU
    Triton's."""
    from trl.trainer.distillation_trainer import _chunked_divergence_loss  # pyright: ignore[reportMissingImports]

    def step() -> Tensor:
        return _chunked_divergence_loss(
            batch.hidden[None],
            batch.teacher_hidden[None],
            batch.weight,
            batch.teacher_weight,
            torch.ones(1, len(batch.hidden), device=batch.hidden.device),
            BETAS[divergence],
        )[0]

    return step


def liger(batch: Batch, divergence: str, *, compiled: bool) -> Step:
    """`LigerFusedLinearJSDLoss`, plain torch in chunks of 1,024 positions."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # pyright: ignore[reportMissingImports]

    loss = LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=BETAS[divergence], compiled=compiled
    )
    return lambda: loss(
        batch.hidden, batch.weight, batch.teacher_hidden, batch.teacher_weight, batch.labels
    )


def ours(batch: Batch, divergence: Any) -> Step:
    from tutelage.losses import Divergence, HiddenTeacher, SampledTeacher, linear_divergence

    chunked: Any = linear_divergence  # a checker does not see through torch.compiler.disable

    sampled = divergence == "sampled"
    teacher = (
        SampledTeacher(batch.ids, batch.probs, batch.probs.new_zeros(len(batch.hidden)))
        if sampled
        else HiddenTeacher(batch.teacher_hidden, batch.teacher_weight)
    )
    return lambda: (
        chunked(
            batch.hidden,
            batch.weight,
            teacher=teacher,
            labels=batch.labels,
            divergence=Divergence("forward_kl" if sampled else divergence),
            soft_weight=1.0,
            total=len(batch.hidden),
        ).loss
    )


def products(batch: Batch, divergence: Any) -> Step:
    """The bare products, written over memory that is taken once; the loss is a stand-in with ready
    gradients."""
    chunk = 512
    logits = batch.weight.detach().new_empty(min(chunk, len(batch.hidden)), len(batch.weight))
    of_hidden, of_weight = torch.empty_like(batch.hidden), torch.zeros_like(batch.weight)

    @torch.no_grad()
    def step() -> Tensor:
        of_weight.zero_()
        for start in range(0, len(batch.hidden), chunk):
            rows = slice(start, start + chunk)
            if divergence != "sampled":
                torch.mm(batch.teacher_hidden[rows], batch.teacher_weight.T, out=logits)
            torch.mm(batch.hidden[rows], batch.weight.T, out=logits)
            torch.mm(logits, batch.weight, out=of_hidden[rows])
            of_weight.addmm_(logits.T, batch.hidden[rows])
        return torch.zeros(())

    return step


CONTENDERS: dict[str, tuple[str | None, Callable[[Batch, str], Step]]] = {
    "products": (None, products),
    "tutelage": (None, ours),
    "plain PyTorch": (None, plain),
    "TRL, whole logits": ("trl", trl_logits),
    "TRL, chunked": ("trl", trl_chunked),
    "Liger, eager": ("liger_kernel", lambda batch, name: liger(batch, name, compiled=False)),
    "Liger, compiled": ("liger_kernel", lambda batch, name: liger(batch, name, compiled=True)),
}
"""The package that each needs, and how it makes a step."""
