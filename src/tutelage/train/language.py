"""The training loop of a language-model student.

In: a fresh student, documents, a source of soft targets, an objective. Out: the student with its
best weights, `metrics.jsonl`, and checkpoints from which a killed run goes on: bit for bit on a
processor, and to rounding on a GPU, whose attention and recurrent kernels sum in an order that
changes.

    for every step: packed documents -> states -> linear + divergence -> sum / trained tokens of the
        step -> AdamW
    now and then: validation, perhaps new best weights, a checkpoint

The loss of a step is divided by the trained tokens of the *whole* step, over micro-batches and
processes, so neither changes what is learned. A loss or gradient that is not a number stops the run
before it reaches the weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from tutelage.data.packing import micro_batches
from tutelage.errors import DataError
from tutelage.losses import Objective
from tutelage.models import output_layer, packs
from tutelage.runs import fingerprint, seed_sequence
from tutelage.train.average import MovingAverage
from tutelage.train.divergence import Guard
from tutelage.train.journal import Journal
from tutelage.train.language_settings import (
    LanguageTrainSettings,
    language_learning_rate_scale,
    soft_weight_at,
)
from tutelage.train.language_step import LanguageStep, micro_batch
from tutelage.train.language_targets import TargetSource
from tutelage.train.language_validation import validate_language
from tutelage.train.loop import TrainResult
from tutelage.train.optimizer import adamw, set_learning_rate
from tutelage.train.state import TrainingState
from tutelage.types import SILENT, Document, Progress

EXPLODED_TIMES = 3.0
"""A loss this many times that of guessing among all tokens, and that of the first step, has
exploded."""

Step = Sequence[Sequence[Sequence[int]]]
"""Micro-batches of rows of documents, by index."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every step of a run, known before it begins."""

    steps: Sequence[Step]
    """The documents of each."""
    epoch_ends: frozenset[int]
    """Numbers of steps done after which an epoch is over."""
    steps_per_epoch: int
    """Of the first epoch, as if no budget cut it short."""


def plan_steps(
    documents: Sequence[Document], settings: LanguageTrainSettings, *, pack: bool
) -> Plan:
    """Lay out all steps: the order of documents in every epoch, or in as many as a token budget
    pays for.

    Args:
        documents: What is learned from.
        settings: Seed, epochs, budget and sizes.
        pack: Whether several documents may share a row.

    Raises:
        DataError: A document is longer than a row.
    """
    _require_short_enough(documents, settings.sequence_length)
    lengths = np.array([len(document.token_ids) for document in documents], dtype=np.int64)
    steps: list[Step] = []
    ends: set[int] = set()
    read, epoch, first = 0, 0, 0
    budget = settings.token_budget
    while epoch < settings.epochs if budget is None else read < budget:
        found = micro_batches(
            lengths,
            tokens_per_step=settings.batch_tokens,
            tokens_per_micro_batch=settings.micro_batch_tokens,
            sequence_length=settings.sequence_length,
            pack=pack,
            seed=settings.seed,
            epoch=epoch,
        )
        first = first or len(found)
        for step in found:
            if budget is not None and read >= budget:
                break
            steps.append(step)
            read += int(sum(lengths[index] for rows in step for row in rows for index in row))
        else:
            ends.add(len(steps))
        epoch += 1
    return Plan(steps, frozenset(ends | {len(steps)}), first)


def train_language_model(
    model: Any,
    pad_id: int,
    train_documents: Sequence[Document],
    validation_documents: Sequence[Document],
    *,
    source: TargetSource | None,
    objective: Objective,
    settings: LanguageTrainSettings,
    out: Path,
    hidden_weight: float = 0.0,
    vocabulary: int | None = None,
    progress: Progress = SILENT,
    title: str = "Training",
) -> TrainResult:
    """Train a language-model student; when this returns it holds its best weights.

    A control (`source=None`) is everything equal but the loss: the same documents in the same order
    and batches.

    Args:
        model: A causal language model of the students room, as it was at the start (same seed) if a
            run is gone on with.
        pad_id: Fills short rows; never trained.
        train_documents: What is learned from.
        validation_documents: Choose the best weights, by the objective at its first soft weight (in
            a control by the cross-entropy).
        source: Where soft targets come from; None trains on the text alone.
        objective: What is minimised.
        settings: How long and how fast.
        out: Folder for `metrics.jsonl`, `checkpoints/` and `tensorboard/`. A checkpoint of the same
            run that lies there is gone on from; those of another run are removed.
        hidden_weight: Weight of the distance between final hidden states; needs a teacher of equal
            width and targets that hold them.
        vocabulary: Ids from here on are padding of the output matrix; None: there are none.
        progress: Where the bar goes.
        title: Of the bar.

    Returns:
        Best step and loss, steps, seconds.

    Raises:
        DataError: There is nothing to learn from or to validate on, or a document is longer than a
            row.
        TargetsIncomplete: A document has no soft targets; it is named, and nothing was computed.
        TrainingDiverged: The loss is not a number or exploded; the last good checkpoint is kept.
    """
    from accelerate import Accelerator

    started = time.monotonic()
    learned = _with_something_to_predict(train_documents, "learn from")
    validated = _with_something_to_predict(validation_documents, "validate on")
    _require_short_enough(validated, settings.sequence_length)
    if source is not None:
        source.require([*learned, *validated])
    plan = plan_steps(learned, settings, pack=packs(model))
    total_steps = len(plan.steps)

    accelerator = Accelerator(log_with="tensorboard", project_dir=str(out))
    device = accelerator.device
    autocast = torch.bfloat16 if settings.precision == "bfloat16" else None
    step_module = LanguageStep(
        model, objective, vocabulary=vocabulary, hidden_weight=hidden_weight, autocast=autocast
    )
    everything = (
        objective,
        hidden_weight,
        settings,
        pad_id,
        vocabulary,
        source and source.fingerprint,
        accelerator.num_processes,
    )
    journal = Journal(out, accelerator, identity=_identity(model, learned, validated, *everything))
    home = next(model.parameters()).device
    wrapped, optimizer = accelerator.prepare(
        step_module, adamw(model, settings, betas=settings.betas)
    )
    state = TrainingState(
        model, optimizer, MovingAverage(model, None), accelerator, plan.steps_per_epoch
    )
    counters = state.counters
    size = vocabulary or output_layer(model).weight.shape[0]
    temperature = 1.0 if source is None else objective.loss_temperature
    guard = Guard(size, temperature, journal.checkpoints, times=EXPLODED_TIMES)

    devices = [device] if device.type == "cuda" else []
    bar = progress.bar(title, total=total_steps, unit="steps")
    with torch.random.fork_rng(devices=devices), closing(journal), bar as advance:
        torch.manual_seed(seed_sequence(settings.seed, "dropout", accelerator.process_index))
        if news := journal.open(state, total=total_steps):
            progress.say(f"{title}: {news}")
        earlier = counters.seconds
        advance(counters.step)
        wrapped.train()
        for step in plan.steps[counters.step :]:
            scale = language_learning_rate_scale(counters.step, total_steps, settings)
            soft_weight = soft_weight_at(
                counters.step,
                total_steps,
                soft_weight=objective.soft_weight,
                soft_weight_final=objective.soft_weight_final,
                decay_share=settings.decay_share,
            )
            set_learning_rate(optimizer, scale)
            positions = sum(
                learned[index].positions for rows in step for row in rows for index in row
            )
            cost = soft = hard = torch.zeros((), device=device)
            for rows in step:
                mine, share = _of_this_process(rows, accelerator)
                batch = micro_batch(learned, mine, source=source, pad_id=pad_id, device=device)
                loss, soft_sum, hard_sum = wrapped(batch, soft_weight=soft_weight, total=positions)
                # Processes average their gradients afterwards, hence the factor.
                accelerator.backward(loss * share * accelerator.num_processes)
                cost, soft, hard = (
                    cost + share * loss.detach(),
                    soft + share * soft_sum,
                    hard + share * hard_sum,
                )
            norm = accelerator.clip_grad_norm_(wrapped.parameters(), settings.clip_norm)
            assert norm is not None
            sums = accelerator.reduce(torch.stack([cost, soft, hard]), reduction="sum")
            cost, soft, hard = cast(torch.Tensor, sums).tolist()
            counters.first_loss = cost if counters.step == 0 else counters.first_loss
            sane = partial(guard.check, first_loss=counters.first_loss)
            sane(cost if torch.isfinite(norm) else float("nan"), step=counters.step + 1)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.step_done(rows=positions, gradient_norm=norm)
            advance(1)
            journal.record(
                state,
                train_loss=cost,
                train_nats=hard / positions,
                train_divergence=None if source is None else soft / positions,
                gradient_norm=float(norm),
                learning_rate=scale * settings.learning_rate,
            )
            every = settings.evaluate_every_steps
            if counters.step in plan.epoch_ends or (every and counters.step % every == 0):
                found = validate_language(
                    step_module,
                    validated,
                    source,
                    pad_id=pad_id,
                    tokens=settings.micro_batch_tokens,
                )
                sane(found.loss, step=counters.step)
                state.judge(found.loss, patience=None)
                journal.record(
                    state,
                    validation_loss=found.loss,
                    validation_nats=found.nats,
                    validation_divergence=found.divergence,
                )
            if (
                counters.step in plan.epoch_ends
                or counters.step % settings.checkpoint_every_steps == 0
            ):
                guard.check_weights(model, step=counters.step)
                counters.seconds = earlier + time.monotonic() - started
                journal.checkpoint(state)
    model.load_state_dict(state.best)
    model.eval().to(home)
    seconds = earlier + time.monotonic() - started
    return TrainResult(counters.best_step, counters.best_validation_loss, counters.step, seconds)


def _of_this_process(
    rows: Sequence[Sequence[int]], accelerator: Any
) -> tuple[Sequence[Sequence[int]], float]:
    """The rows of this process; where there are fewer rows than processes, a row that weighs
    nothing.
    """
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    return (mine, 1.0) if mine else (rows[:1], 0.0)


def _require_short_enough(documents: Sequence[Document], sequence_length: int) -> None:
    for document in documents:
        if len(document.token_ids) > sequence_length:
            raise DataError(
                f"{document.source or 'a document'} row {document.row} has "
                f"{len(document.token_ids)} tokens, more "
                f"than sequence_length {sequence_length}. Raise it, or set long_documents to split "
                "or truncate"
            )


def _with_something_to_predict(documents: Sequence[Document], purpose: str) -> list[Document]:
    kept = [document for document in documents if document.positions]
    if not kept:
        raise DataError(
            f"no document has a token to predict, so there is nothing to {purpose}; expected texts "
            "of two tokens or "
            "more, or rows with a response"
        )
    return kept


def _identity(
    model: torch.nn.Module,
    train: Sequence[Document],
    validation: Sequence[Document],
    *others: object,
) -> str:
    """Name all that decides how a run goes: a checkpoint of another identity is not gone on
    from.
    """
    weights = {
        name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()
    }
    ids = [[document.example_id for document in part] for part in (train, validation)]
    return fingerprint("train_language_model", str(model), weights, ids, *others)
