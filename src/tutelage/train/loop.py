"""The training loop, for every kind of student, and the guard that stops it.

In: a `Step` (batches, their cost, validation), settings, a folder. Out: the student with its best
weights, `metrics.jsonl`, and checkpoints from which a killed run goes on: bit for bit on a
processor, and to rounding on a GPU, whose attention and recurrent kernels sum in an order that
changes.

    for every step: batches -> cost / size of the step -> backward -> clip -> AdamW
    now and then: validation, perhaps new best weights, a checkpoint

The cost of a step is divided by the size of the *whole* step, over accumulated batches and
processes, so neither changes what is learned. Nothing waits for a number of the current step unless
it is the first, is recorded, or a checkpoint follows; then a loss or gradient that is not a number
stops the run before it reaches the weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import isfinite, log
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.errors import RecipeError, TrainingDiverged
from tutelage.processes import crew, noticing_loss
from tutelage.runs import seed_sequence
from tutelage.train.journal import Journal
from tutelage.train.optimizer import adamw, set_learning_rate
from tutelage.train.settings import LoopSettings
from tutelage.train.sharded import Sharded, first_not_finite, wants_sharding, whole_of
from tutelage.train.state import MovingAverage, TrainingState, run_identity
from tutelage.train.step import Step
from tutelage.types import SILENT, Progress

GROWN_TIMES = 3.0
"""A loss this many times that of the first step has exploded, if it is also far above guessing."""


def guessing_times(times: float, *, choices: int, loss_temperature: float) -> float:
    """So many times the loss of a student that guesses, in nats: above it a run has exploded.

    Args:
        times: How many.
        choices: C classes or tokens to guess among: log C nats, here at least 1.
        loss_temperature: Its square multiplies the loss; 1 where there is no teacher.
    """
    return times * max(1.0, log(choices)) * max(1.0, loss_temperature**2)


def highest_sane(first_loss: float, *, guessing: float) -> float:
    """The loss above which a run has exploded, in nats.

    A student that was cut from its teacher, or one whose divergence counts what a sure teacher
    rules out, may begin far above guessing: such a run has exploded only if its loss grew.

    Args:
        first_loss: Of the first step; 0 where nobody looked at it.
        guessing: From `guessing_times`.
    """
    return max(guessing, GROWN_TIMES * first_loss)


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

    def check_weights(self, model: nn.Module, accelerator: Any, *, step: int) -> None:
        """Make sure that a checkpoint is worth writing.

        Args:
            model: With the weights after the step.
            accelerator: Of the processes that hold them.
            step: Its number, for the message.

        Raises:
            TrainingDiverged: A weight is not a number, or not finite.
        """
        if (name := first_not_finite(model, accelerator)) is not None:
            raise self._diverged(f"the weight {name} after step {step} is not a number")

    def _diverged(self, what: str) -> TrainingDiverged:
        kept = self.checkpoints.is_dir()
        where = (
            f"the last good checkpoint is in {self.checkpoints}"
            if kept
            else "there was no checkpoint yet"
        )
        return TrainingDiverged(f"{what}. Lower learning_rate or clip_norm and run again; {where}")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run came to."""

    best_step: int
    """Optimizer steps after which validation was best; the weights kept are those."""
    best_validation_loss: float
    """In nats a row or token (the soft part times the squared loss temperature)."""
    steps: int
    """Optimizer steps done in all."""
    seconds: float
    """Wall time, that of calls which were interrupted up to their last checkpoint included."""


@contextmanager
def _naming_unused_weights() -> Iterator[None]:
    """Say in words what DDP says of weights that no gradient comes to."""
    try:
        yield
    except RuntimeError as error:
        if "Expected to have finished reduction" not in str(error):
            raise
        raise RecipeError(
            "the student has weights that its answers do not depend on, which several processes "
            "cannot train together: train it with one process, or with accelerate launch "
            "--use_fsdp --fsdp_version 2"
        ) from error


def train(
    step: Step,
    *,
    settings: LoopSettings,
    out: Path,
    progress: Progress = SILENT,
    title: str = "Training",
) -> TrainResult:
    """Train a student; when this returns it holds its best weights.

    Args:
        step: The student and what it learns from. To go on from a checkpoint, its student must be
            as it was at the start of the killed run (same seed).
        settings: How fast; what the step itself needs of them it has.
        out: Folder for `metrics.jsonl`, `checkpoints/` and `tensorboard/`. A checkpoint of the same
            run that lies there is gone on from; those of another run are removed.
        progress: Where the bar goes.
        title: Of the bar.

    Returns:
        Best step and loss, steps, seconds.

    Raises:
        TrainingDiverged: The loss is not a number or exploded; the last good checkpoint is kept.
    """
    from accelerate import Accelerator

    started = time.monotonic()
    model, course = step.model, step.course
    accelerator = Accelerator(log_with="tensorboard", project_dir=str(out))
    name, parts = step.identity
    shards = wants_sharding(accelerator)
    # A run is the same on any number of processes; the number that once stood here stays one.
    identity = run_identity(name, model, *parts, 1)
    journal = Journal(out, accelerator, identity=identity, is_sharded=shards)
    guard = Guard(journal.checkpoints)
    home = next(model.parameters()).device
    with noticing_loss():
        sharded = Sharded(step.module, model, accelerator.device) if shards else None
        optimizer: Any = adamw(
            model, settings, betas=course.betas, learning_rates=course.learning_rates
        )
        wrapped = step.module
        if sharded is None:
            wrapped, optimizer = accelerator.prepare(wrapped, optimizer)
    state = TrainingState(
        model,
        optimizer,
        MovingAverage(model, course.ema_decay),
        accelerator,
        course.steps_per_epoch,
    )
    counters = state.counters

    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    bar = progress.bar(title, total=course.total_steps, unit="steps")
    with (
        torch.random.fork_rng(devices=devices),
        closing(journal),
        noticing_loss(),
        _naming_unused_weights(),
        bar as advance,
    ):
        torch.manual_seed(seed_sequence(settings.seed, "dropout", accelerator.process_index))
        if news := journal.open(state, total=course.total_steps):
            progress.say(f"{title}: {news}")
        if course.records_after(counters.step):  # rows that were recorded do not count again
            state.forget_costs()
        earlier = counters.seconds
        advance(counters.step)
        wrapped.train()
        while counters.step < course.total_steps and not counters.stopped:
            scale = step.learning_rate_scale(counters.step)
            set_learning_rate(optimizer, scale)
            for batch in step.batches(counters.step, accelerator):
                loss, sums = step.cost(wrapped, batch, step=counters.step)
                # Processes average their gradients afterwards, hence the factor.
                accelerator.backward(loss * accelerator.num_processes)
                state.add_costs(sums)
            norm = accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip_norm)
            norm = None if norm is None else whole_of(norm)
            state.add_step(rows=step.size(counters.step), gradient_norm=norm)

            done = counters.step + 1
            records, validates = course.records_after(done), course.validates_after(done)
            saves = done in course.epoch_ends or done % settings.checkpoint_every_steps == 0
            values: dict[str, float | None] = {}
            if records or saves or done == 1:
                norm = None if norm is None else float(norm)
                loss, others = step.describe(state.costs(), rows=counters.rows, gradient_norm=norm)
                counters.first_loss = loss if done == 1 else counters.first_loss
                guard.check(loss, step=done, ceiling=step.ceiling(counters.first_loss))
                rate = scale * settings.learning_rate
                values = {"train_loss": loss, **others, "learning_rate": rate}
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.step_done()
            advance(1)
            if records:
                journal.record(state, **values)
                state.forget_costs()
            if validates:
                with state.average.swapped_in():
                    # What is the best step, and when to stop, all must see alike.
                    loss, others = crew().told(step.validate(accelerator))
                    guard.check(loss, step=done, ceiling=step.ceiling(counters.first_loss))
                    state.judge(loss, patience=course.patience)
                journal.record(state, validation_loss=loss, **others)
            if saves:
                guard.check_weights(model, accelerator, step=done)
                counters.seconds = earlier + time.monotonic() - started
                journal.checkpoint(state)
    if sharded is None:
        model.load_state_dict(state.best)
        accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    else:
        with noticing_loss():
            sharded.gather(state.best)
    model.eval().to(home)
    seconds = earlier + time.monotonic() - started
    return TrainResult(counters.best_step, counters.best_validation_loss, counters.step, seconds)
