"""One optimizer step of a language-model student: packed documents, soft targets, an objective.

documents of the step -> micro-batches -> states -> linear + divergence -> sum / trained tokens
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.losses import Objective
from tutelage.models import has_fast_bfloat16
from tutelage.models.final_states import packs
from tutelage.models.output import output_layer
from tutelage.train.loop import TrainResult, guessing_times, highest_sane, train
from tutelage.train.optimizer import learning_rate_scale, soft_weight_at
from tutelage.train.settings import LanguageTrainSettings
from tutelage.train.step import Course
from tutelage.train.steps.tokens.loss import MicroBatch, TokenLoss, micro_batch, validate_tokens
from tutelage.train.steps.tokens.plan import (
    plan_steps,
    require_short_enough,
    with_something_to_predict,
)
from tutelage.train.steps.tokens.targets import TargetSource
from tutelage.types import SILENT, Document, Progress

TIMES_GUESSING_A_TOKEN = 3.0
"""A loss this many times that of guessing among all tokens has exploded, unless it began there."""


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
        settings: How long and how fast; a precision of `auto` is what this machine is fast at.
        out: See `loop.train`.
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
    step = TokenStep(
        model,
        pad_id,
        train_documents,
        validation_documents,
        source=source,
        objective=objective,
        settings=settings,
        hidden_weight=hidden_weight,
        vocabulary=vocabulary,
    )
    return train(step, settings=settings, out=out, progress=progress, title=title)


class TokenStep:
    """A `Step` over packed documents; arguments as in `train_language_model`."""

    def __init__(
        self,
        model: Any,
        pad_id: int,
        train_documents: Sequence[Document],
        validation_documents: Sequence[Document],
        *,
        source: TargetSource | None,
        objective: Objective,
        settings: LanguageTrainSettings,
        hidden_weight: float = 0.0,
        vocabulary: int | None = None,
    ) -> None:
        if settings.precision == "auto":
            fast = "bfloat16" if has_fast_bfloat16() else "float32"
            settings = replace(settings, precision=fast)
        self.model = model
        self._pad_id = pad_id
        self._source = source
        self._objective = objective
        self._settings = settings
        self._learned = with_something_to_predict(train_documents, "learn from")
        self._validated = with_something_to_predict(validation_documents, "validate on")
        require_short_enough(self._validated, settings.sequence_length)
        if source is not None:
            source.require([*self._learned, *self._validated])
        plan = plan_steps(self._learned, settings, pack=packs(model))
        self._steps = plan.steps
        self.course = Course(
            total_steps=len(plan.steps),
            steps_per_epoch=plan.steps_per_epoch,
            epoch_ends=plan.epoch_ends,
            evaluate_every_steps=settings.evaluate_every_steps,
            betas=settings.betas,
        )
        autocast = torch.bfloat16 if settings.precision == "bfloat16" else None
        self.module = TokenLoss(
            model, objective, vocabulary=vocabulary, hidden_weight=hidden_weight, autocast=autocast
        )
        ids = [
            [document.example_id for document in part] for part in (self._learned, self._validated)
        ]
        stored = source and source.fingerprint
        others = (objective, hidden_weight, settings, pad_id, vocabulary, stored)
        self.identity = ("train_language_model", (ids, *others))
        self._guessing = guessing_times(
            TIMES_GUESSING_A_TOKEN,
            choices=vocabulary or output_layer(model).weight.shape[0],
            loss_temperature=1.0 if source is None else objective.loss_temperature,
        )

    def learning_rate_scale(self, step: int) -> float:
        """See `Step`: warm-up, then a cosine or `wsd`."""
        return learning_rate_scale(
            step,
            self.course.total_steps,
            warmup_share=self._settings.warmup_share,
            schedule=self._settings.schedule,
            decay_share=self._settings.decay_share,
        )

    def soft_weight(self, step: int) -> float:
        """The weight of the soft targets at a step."""
        return soft_weight_at(
            step,
            self.course.total_steps,
            soft_weight=self._objective.soft_weight,
            soft_weight_final=self._objective.soft_weight_final,
            decay_share=self._settings.decay_share,
        )

    def size(self, step: int) -> int:
        """Trained tokens of a step."""
        return sum(
            self._learned[index].positions
            for rows in self._steps[step]
            for row in rows
            for index in row
        )

    def batches(self, step: int, accelerator: Any) -> Iterator[tuple[MicroBatch, float]]:
        """The rows of this process in every micro-batch, and what they weigh.

        Where there are fewer rows than processes, a row that weighs nothing.
        """
        process, processes = accelerator.process_index, accelerator.num_processes
        for rows in self._steps[step]:
            mine = rows[process::processes]
            batch = micro_batch(
                self._learned,
                mine or rows[:1],
                source=self._source,
                pad_id=self._pad_id,
                device=accelerator.device,
            )
            yield batch, 1.0 if mine else 0.0

    def cost(
        self, module: Any, batch: tuple[MicroBatch, float], *, step: int
    ) -> tuple[Tensor, Tensor]:
        """See `Step`; sums of the loss, the divergence and the cross-entropy to the text."""
        packed, share = batch
        loss, soft, hard = module(packed, soft_weight=self.soft_weight(step), total=self.size(step))
        return loss * share, torch.stack([loss.detach(), soft, hard]) * share

    def describe(
        self, sums: Sequence[float], *, rows: int, gradient_norm: float | None
    ) -> tuple[float, dict[str, float | None]]:
        """The loss of the step, and what it is made of per trained token."""
        loss, soft, hard = sums
        return loss, {
            "train_nats": hard / rows,
            "train_divergence": None if self._source is None else soft / rows,
            "gradient_norm": gradient_norm,
        }

    def validate(
        self,
        accelerator: Any,  # noqa: ARG002 - of the protocol
    ) -> tuple[float, dict[str, float | None]]:
        """The objective over held-out documents, and what it is made of per trained token."""
        found = validate_tokens(
            self.module,
            self._validated,
            self._source,
            pad_id=self._pad_id,
            tokens=self._settings.micro_batch_tokens,
        )
        return found.loss, {
            "validation_nats": found.nats,
            "validation_divergence": found.divergence,
        }

    def ceiling(self, first_loss: float) -> float:
        """See `Step`; a student that was cut from its teacher may begin far above guessing."""
        return highest_sane(first_loss, guessing=self._guessing)
