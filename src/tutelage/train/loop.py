"""The training loop of a classifier student.

In: a fresh model, encoded rows with soft targets, an objective. Out: the model with its best
weights, `metrics.jsonl`, and checkpoints from which a killed run goes on: bit for bit on a
processor, and to rounding on a GPU, whose attention and recurrent kernels sum in an order that
changes.

    for every step: batches -> logits -> objective -> sum / rows of the step -> backward -> clip ->
        AdamW
    at the end of an epoch: validation, perhaps new best weights, a checkpoint

The cost of a step is divided by the rows of the *whole* step, over accumulated batches and
processes, in one place (`losses.reduce`). Nothing waits for a number of the current step: costs are
summed where they are computed and looked at every 20 steps.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tutelage.data.collate import EncodedSet, collate
from tutelage.losses import Objective, reduce
from tutelage.runs import seed_sequence
from tutelage.train.average import MovingAverage
from tutelage.train.batches import step_batches
from tutelage.train.divergence import Guard
from tutelage.train.journal import Journal
from tutelage.train.noise import WordDropout
from tutelage.train.optimizer import adamw, set_learning_rate
from tutelage.train.order import epoch_steps, num_steps
from tutelage.train.rows import training_rows, validation_rows
from tutelage.train.settings import TrainSettings, learning_rate_scale
from tutelage.train.state import TrainingState, identity
from tutelage.train.validation import validate
from tutelage.types import SILENT, Progress

LOG_EVERY_STEPS = 20
"""Optimizer steps between records of the training loss."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a training run came to."""

    best_step: int
    """Optimizer steps after which validation was best; the weights kept are those."""
    best_validation_loss: float
    """In nats a row (the soft part times the squared loss temperature)."""
    steps: int
    """Optimizer steps done in all."""
    seconds: float
    """Wall time, that of calls which were interrupted up to their last checkpoint included."""


def train_classifier(
    model: nn.Module,
    pad_id: int,
    train_set: EncodedSet,
    validation_set: EncodedSet,
    *,
    objective: Objective,
    settings: TrainSettings,
    out: Path,
    use_teacher: bool = True,
    unknown_id: int | None = None,
    progress: Progress = SILENT,
    title: str = "Training",
) -> TrainResult:
    """Train a student; when this returns it holds its best weights.

    A control (`use_teacher=False`) is everything equal but the loss: the same order, noise, batches
    and number of steps. Rows without a label can teach it nothing and are left out; the labelled
    ones are drawn again, each equally often, until the epoch has as many rows as that of the
    student it is compared with. So give it the same `train_set`.

    Args:
        model: Takes `input_ids` and `attention_mask` `[B, T]`, gives an object with `logits`
            `[B, C]`. To go on from a checkpoint, give it as it was at the start of the killed run
            (same seed).
        pad_id: Fills short rows.
        train_set: Rows to learn from.
        validation_set: Rows that choose the best epoch, by the objective itself. Without soft
            targets (always in a control) by the cross-entropy to their labels.
        objective: Cost of each row.
        settings: How long and how fast. `batch_size` is that of all processes together.
        out: Folder for `metrics.jsonl`, `checkpoints/` and `tensorboard/`. A checkpoint of the same
            run that lies there is gone on from; those of another run are removed.
        use_teacher: False trains on labels alone.
        unknown_id: Replaces dropped words; needed if `settings.word_dropout` is above 0.
        progress: Where the bar goes.
        title: Of the bar.

    Returns:
        Best step and loss, steps, seconds.

    Raises:
        DataError: There is no row to learn from or to validate on, or no id for dropped words.
        TrainingDiverged: The loss is not a number or exploded; the last good checkpoint is kept.
    """
    from accelerate import Accelerator

    started = time.monotonic()
    learned = training_rows(train_set, use_teacher=use_teacher)
    validated = validation_rows(validation_set, use_teacher=use_teacher)
    noise = WordDropout.for_rows(
        learned, share=settings.word_dropout, unknown_id=unknown_id, seed=settings.seed
    )
    rows_per_step = settings.batch_size * settings.gradient_accumulation
    steps_per_epoch = num_steps(len(train_set), rows_per_step)
    total_steps = settings.epochs * steps_per_epoch

    accelerator = Accelerator(log_with="tensorboard", project_dir=str(out))
    all_that_counts = (
        len(train_set),
        pad_id,
        unknown_id,
        objective,
        settings,
        accelerator.num_processes,
    )
    journal = Journal(
        out, accelerator, identity=identity(model, learned, validated, *all_that_counts)
    )
    home = next(model.parameters()).device
    wrapped, optimizer = accelerator.prepare(model, adamw(model, settings))
    bare = accelerator.unwrap_model(wrapped)
    state = TrainingState(
        bare, optimizer, MovingAverage(bare, settings.ema_decay), accelerator, steps_per_epoch
    )
    counters = state.counters
    loss_temperature = objective.loss_temperature if use_teacher else 1.0
    guard = Guard(_num_classes(bare, validated, pad_id), loss_temperature, journal.checkpoints)
    batches = partial(
        step_batches,
        learned,
        batch_size=settings.batch_size,
        pad_id=pad_id,
        noise=noise,
        accelerator=accelerator,
    )

    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    bar = progress.bar(title, total=total_steps, unit="steps")
    with torch.random.fork_rng(devices=devices), closing(journal), bar as advance:
        torch.manual_seed(seed_sequence(settings.seed, "dropout", accelerator.process_index))
        if news := journal.open(state, total=total_steps):
            progress.say(f"{title}: {news}")
        earlier = counters.seconds
        advance(counters.step)
        while counters.epoch < settings.epochs and not counters.stopped:
            steps = epoch_steps(
                learned.lengths,
                rows_per_step=rows_per_step,
                seed=settings.seed,
                epoch=counters.epoch,
                draws=len(train_set),
            )
            wrapped.train()
            for rows in steps[counters.epoch_step :]:
                scale = learning_rate_scale(
                    counters.step, total_steps, warmup_share=settings.warmup_share
                )
                set_learning_rate(optimizer, scale)
                for batch in batches(rows, step=counters.step):
                    logits = wrapped(
                        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
                    ).logits
                    costs = objective(logits, batch.get("teacher_logprobs"), batch["labels"])
                    loss = reduce(costs, batch.get("weights"), total=len(rows))
                    # Processes average their gradients afterwards, hence the factor.
                    accelerator.backward(loss * accelerator.num_processes)
                    state.add_costs(costs if "weights" not in batch else costs * batch["weights"])
                norm = accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                state.step_done(rows=len(rows), gradient_norm=norm)
                advance(1)

                epoch_ends = counters.epoch_step == steps_per_epoch
                if epoch_ends or counters.step % LOG_EVERY_STEPS == 0:
                    mean = guard.check(state.mean_cost(), step=counters.step)
                    journal.record(
                        state, train_loss=mean, learning_rate=scale * settings.learning_rate
                    )
                    state.forget_costs()
                if epoch_ends:
                    state.end_epoch()
                    with state.average.swapped_in():
                        found = validate(
                            bare, validated, objective, pad_id=pad_id, accelerator=accelerator
                        )
                        guard.check(found.loss, step=counters.step)
                        state.judge(found.loss, patience=settings.patience)
                    journal.record(
                        state, validation_loss=found.loss, validation_accuracy=found.accuracy
                    )
                if epoch_ends or counters.step % settings.checkpoint_every_steps == 0:
                    guard.check(state.mean_cost(), step=counters.step)
                    guard.check_weights(bare, step=counters.step)
                    counters.seconds = earlier + time.monotonic() - started
                    journal.checkpoint(state)
    bare.load_state_dict(state.best)
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False).eval().to(home)
    seconds = earlier + time.monotonic() - started
    return TrainResult(counters.best_step, counters.best_validation_loss, counters.step, seconds)


@torch.no_grad()
def _num_classes(model: nn.Module, encoded: EncodedSet, pad_id: int) -> int:
    """What the model itself says: the width of its answer to one row."""
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in collate(encoded, [0], pad_id=pad_id).items()}
    return model.eval()(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits.shape[-1]
