"""What the training loop asks about a kind of student: its steps, their cost, its validation.

The loop (`loop.train`) knows no classes and no tokens. A task says here what one optimizer step
learns from and what it costs; the loop does everything else: gradients, clipping, the optimizer,
records, checkpoints, going on after a kill.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Course:
    """How a run goes, known before it begins."""

    total_steps: int
    """Optimizer steps, if patience does not end it sooner."""

    steps_per_epoch: int
    """Of the first epoch, as if nothing cut it short; records count epochs by it."""

    epoch_ends: Container[int]
    """Numbers of steps done after which an epoch is over; the last step of all is one."""

    log_every_steps: int = 1
    """Steps between records of the training loss; a loss that was not recorded is not waited
    for."""

    evaluate_every_steps: int | None = None
    """Steps between validations besides those at the end of epochs; None: no others."""

    patience: int | None = None
    """Validations without a better loss that end the run; None: they never do."""

    ema_decay: float | None = None
    """Decay of a moving average of the weights, which is what is validated; None: no average."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's two moments."""

    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """The highest learning rates of weights that have one of their own, by name."""

    def records_after(self, step: int) -> bool:
        """Whether the training loss is recorded after so many steps."""
        return step in self.epoch_ends or step % self.log_every_steps == 0

    def validates_after(self, step: int) -> bool:
        """Whether there is a validation after so many steps."""
        every = self.evaluate_every_steps
        return step in self.epoch_ends or (every is not None and step % every == 0)


class Step(Protocol):
    """One optimizer step of a kind of student, and what belongs to it.

    Steps are numbered from 0. What step number n is depends on n alone, so that a run which was
    killed goes on with what an unbroken one would have seen.
    """

    @property
    def model(self) -> nn.Module:
        """The student: what is optimised, averaged, kept and saved."""
        ...

    @property
    def module(self) -> nn.Module:
        """What `cost` calls: the student itself, or a module around it that has its loss inside.

        Distributed wrappers go around this one; gradients made outside of its forward pass would
        not be exchanged.
        """
        ...

    @property
    def course(self) -> Course:
        """How many steps there are and what happens after which."""
        ...

    @property
    def identity(self) -> tuple[str, Sequence[object]]:
        """A word for the kind of run, and all beside the student's weights that decides how it
        goes: a checkpoint of another identity is not gone on from.
        """
        ...

    def learning_rate_scale(self, step: int) -> float:
        """The share of the peak learning rate at a step, in (0, 1]."""
        ...

    def size(self, step: int) -> int:
        """Rows, or trained tokens, of the whole step over batches and processes."""
        ...

    def batches(self, step: int, accelerator: Any) -> Iterable[Any]:
        """What this process learns from in a step, on its device.

        Every process gives as many batches as any other, for in each they exchange gradients; one
        that has nothing left gives a batch that weighs nothing.
        """
        ...

    def cost(self, module: Any, batch: Any, *, step: int) -> tuple[Tensor, Tensor]:
        """The share of a batch in the loss of a step.

        Args:
            module: `module` as it was wrapped.
            batch: One of `batches`.
            step: The number of the step.

        Returns:
            The loss, divided by the size of the *whole* step; and detached sums `[S]`, which are
            added up over batches, processes and steps until `describe` gets them.
        """
        ...

    def describe(
        self, sums: Sequence[float], *, rows: int, gradient_norm: float | None
    ) -> tuple[float, Mapping[str, float | None]]:
        """What is recorded of the steps since the last record.

        Args:
            sums: What `cost` gave, added up over them.
            rows: Their sizes, added up.
            gradient_norm: Of the last one, before clipping.

        Returns:
            The training loss, which stops the run if it is not sane, and other values by name.
        """
        ...

    def validate(self, accelerator: Any) -> tuple[float, Mapping[str, float | None]]:
        """What held-out rows say of the student as it is.

        Returns:
            The loss that chooses the best weights, and other values for the record by name.
        """
        ...

    def ceiling(self, first_loss: float) -> float:
        """The highest loss that is still sane: a run above it has exploded.

        Args:
            first_loss: What the run began with.
        """
        ...
