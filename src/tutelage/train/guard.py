"""When to stop a run from which nothing can come any more."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path

import torch
from torch import nn

from tutelage.errors import TrainingDiverged

EXPLODED_TIMES = 20.0
"""A mean loss this many times that of guessing has exploded."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Stops a run whose loss is not a number or far above that of guessing (log C nats, at least
    1).
    """

    num_classes: int
    """C."""
    loss_temperature: float
    """Its square multiplies the loss; 1 where there is no teacher."""
    checkpoints: Path
    """Where the last good checkpoint lies, if there is one."""
    times: float = EXPLODED_TIMES
    """A loss this many times that of guessing has exploded."""

    @property
    def ceiling(self) -> float:
        """The highest loss that is still sane."""
        return self.times * max(1.0, log(self.num_classes)) * max(1.0, self.loss_temperature**2)

    def check(self, loss: float, *, step: int, first_loss: float = 0.0) -> float:
        """The loss, if it is sane.

        Args:
            loss: Of the step, or of a validation.
            step: Its number, for the message.
            first_loss: What the run began with: a student that was cut from its teacher may begin
                far above guessing, and has exploded only if its loss grew.

        Raises:
            TrainingDiverged: It is not.
        """
        ceiling = max(self.ceiling, self.times * first_loss)
        if isfinite(loss) and loss <= ceiling:
            return loss
        reason = f"has exploded: it is above {ceiling:.3g}" if isfinite(loss) else "is not a number"
        raise self._diverged(
            f"the training loss or its gradient at step {step} ({loss:.4g}) {reason}"
        )

    def check_weights(self, model: nn.Module, *, step: int) -> None:
        """Make sure that a checkpoint is worth writing.

        Args:
            model: With the weights after the step.
            step: Its number, for the message.

        Raises:
            TrainingDiverged: A weight is not a number, or not finite.
        """
        for name, weight in model.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise self._diverged(f"the weight {name} after step {step} is not a number")

    def _diverged(self, what: str) -> TrainingDiverged:
        kept = self.checkpoints.is_dir()
        where = (
            f"the last good checkpoint is in {self.checkpoints}"
            if kept
            else "there was no checkpoint yet"
        )
        return TrainingDiverged(f"{what}. Lower learning_rate or clip_norm and run again; {where}")
