"""When to stop a run from which nothing can come any more."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path

import torch
from torch import nn

from tutelage.errors import TrainingDiverged


def guessing_times(times: float, *, choices: int, loss_temperature: float) -> float:
    """So many times the loss of a student that guesses, in nats: above it a run has exploded.

    Args:
        times: How many.
        choices: C classes or tokens to guess among: log C nats, here at least 1.
        loss_temperature: Its square multiplies the loss; 1 where there is no teacher.
    """
    return times * max(1.0, log(choices)) * max(1.0, loss_temperature**2)


@dataclass(frozen=True, slots=True)
class Guard:
    """Stops a run whose loss or weights are not a number, or whose loss has exploded."""

    checkpoints: Path
    """Where the last good checkpoint lies, if there is one."""

    def check(self, loss: float, *, step: int, ceiling: float) -> None:
        """Make sure that a loss is sane.

        Args:
            loss: Of the steps since the last look, or of a validation.
            step: Steps done, for the message.
            ceiling: The highest loss that is still sane.

        Raises:
            TrainingDiverged: It is not.
        """
        if isfinite(loss) and loss <= ceiling:
            return
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
