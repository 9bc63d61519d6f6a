"""One optimizer step of a classifier student, and its validation: encoded rows with soft targets,
an objective.

rows of the step -> batches with word dropout -> logits -> objective -> sum / rows of the step
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tutelage.data.examples.collate import EncodedSet, collate
from tutelage.losses import Objective, reduce
from tutelage.train.loop import TrainResult, guessing_times, highest_sane, train
from tutelage.train.optimizer import learning_rate_scale
from tutelage.train.settings import TrainSettings
from tutelage.train.sharded import wants_sharding
from tutelage.train.step import Course
from tutelage.train.steps.classes.rows import (
    WordDropout,
    epoch_steps,
    num_steps,
    step_batches,
    training_rows,
    validation_rows,
)
from tutelage.types import SILENT, Progress

LOG_EVERY_STEPS = 20
"""Optimizer steps between records of the training loss."""
TIMES_GUESSING_A_CLASS = 20.0
"""A mean loss this many times that of guessing among the classes has exploded, unless it began
there."""


class StateMatching(Protocol):
    """Says how far the hidden states of a model are from where they should be."""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a run with it is told apart by."""
        ...

    def __call__(self, module: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The logits of a batch [B, C], and how far its rows are, weighted, [B]."""
        ...


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
    learning_rates: Mapping[str, float] = MappingProxyType({}),
    matching: StateMatching | None = None,
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
            `[B, C]`. Weights without gradient stay as they are. To go on from a checkpoint, give it
            as it was at the start of the killed run (same seed).
        pad_id: Fills short rows.
        train_set: Rows to learn from.
        validation_set: Rows that choose the best epoch, by the objective itself. Without soft
            targets (always in a control) by the cross-entropy to their labels.
        objective: Cost of each row.
        settings: How long and how fast.
        out: See `loop.train`.
        use_teacher: False trains on labels alone.
        unknown_id: Replaces dropped words; needed if `settings.word_dropout` is above 0.
        learning_rates: The highest learning rates of weights that have one of their own, by name.
        matching: Adds to the cost of each row how far the model's hidden states are from others;
            validation does without.
        progress: Where the bar goes.
        title: Of the bar.

    Returns:
        Best step and loss, steps, seconds.

    Raises:
        DataError: There is no row to learn from or to validate on, or no id for dropped words.
        TrainingDiverged: The loss is not a number or exploded; the last good checkpoint is kept.
    """
    step = ClassStep(
        model,
        pad_id,
        train_set,
        validation_set,
        objective=objective,
        settings=settings,
        use_teacher=use_teacher,
        unknown_id=unknown_id,
        learning_rates=learning_rates,
        matching=matching,
    )
    return train(step, settings=settings, out=out, progress=progress, title=title)


class ClassStep:
    """A `Step` over rows with class labels; arguments as in `train_classifier`."""

    def __init__(
        self,
        model: nn.Module,
        pad_id: int,
        train_set: EncodedSet,
        validation_set: EncodedSet,
        *,
        objective: Objective,
        settings: TrainSettings,
        use_teacher: bool = True,
        unknown_id: int | None = None,
        learning_rates: Mapping[str, float] = MappingProxyType({}),
        matching: StateMatching | None = None,
    ) -> None:
        self.model = self.module = model
        self._matching = matching
        self._pad_id = pad_id
        self._objective = objective
        self._settings = settings
        self._learned = training_rows(train_set, use_teacher=use_teacher)
        self._validated = validation_rows(validation_set, use_teacher=use_teacher)
        self._noise = WordDropout.for_rows(
            self._learned, share=settings.word_dropout, unknown_id=unknown_id, seed=settings.seed
        )
        self._draws = len(train_set)
        self._rows_per_step = settings.batch_size * settings.gradient_accumulation
        steps_per_epoch = num_steps(self._draws, self._rows_per_step)
        total_steps = settings.epochs * steps_per_epoch
        self.course = Course(
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            epoch_ends=range(steps_per_epoch, total_steps + 1, steps_per_epoch),
            log_every_steps=LOG_EVERY_STEPS,
            patience=settings.patience,
            ema_decay=settings.ema_decay,
            learning_rates=learning_rates,
        )
        rows = [
            (part.lengths, part.tokens, part.labels, part.teacher_probs)
            for part in (self._learned, self._validated)
        ]
        others = (self._draws, pad_id, unknown_id, objective, settings)
        frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
        if frozen or learning_rates:  # a run of before has neither, and goes on
            others += (frozen, dict(learning_rates))
        if matching is not None:
            others += (matching.identity,)
        self.identity = ("train_classifier", (rows, *others))
        self._steps_of_epoch = lru_cache(maxsize=1)(self._drawn)
        self._guessing = guessing_times(
            TIMES_GUESSING_A_CLASS,
            choices=_num_classes(model, self._validated, pad_id),
            loss_temperature=objective.loss_temperature if use_teacher else 1.0,
        )

    def learning_rate_scale(self, step: int) -> float:
        """See `Step`: warm-up, then a cosine."""
        return learning_rate_scale(
            step, self.course.total_steps, warmup_share=self._settings.warmup_share
        )

    def size(self, step: int) -> int:
        """Rows of a step."""
        return len(self._rows(step))

    def batches(self, step: int, accelerator: Any) -> Iterator[dict[str, Tensor]]:
        """See `rows.step_batches`."""
        return step_batches(
            self._learned,
            self._rows(step),
            batch_size=self._settings.batch_size,
            pad_id=self._pad_id,
            noise=self._noise,
            step=step,
            accelerator=accelerator,
        )

    def cost(self, module: Any, batch: dict[str, Tensor], *, step: int) -> tuple[Tensor, Tensor]:
        """See `Step`; the only sum is what the rows of the batch cost."""
        if self._matching is None:
            ids, mask = batch["input_ids"], batch["attention_mask"]
            logits, apart = module(input_ids=ids, attention_mask=mask).logits, None
        else:
            logits, apart = self._matching(module, batch)
        costs = self._objective(logits, batch.get("teacher_logprobs"), batch["labels"])
        if apart is not None:
            costs = costs + apart
        loss = reduce(costs, batch.get("weights"), total=self.size(step))
        counted = costs if "weights" not in batch else costs * batch["weights"]
        return loss, counted.detach().sum()[None]

    def describe(
        self,
        sums: Sequence[float],
        *,
        rows: int,
        gradient_norm: float | None,  # noqa: ARG002 - of the protocol
    ) -> tuple[float, dict[str, float | None]]:
        """The mean cost of a row since the last record."""
        return sums[0] / max(1, rows), {}

    def validate(self, accelerator: Any) -> tuple[float, dict[str, float | None]]:
        """The mean objective of held-out rows, and the accuracy."""
        found = validate_rows(
            self.model,
            self._validated,
            self._objective,
            pad_id=self._pad_id,
            # Sharded, every process has to go through every layer as often as all others.
            accelerator=None if wants_sharding(accelerator) else accelerator,
        )
        return found.loss, {"validation_accuracy": found.accuracy}

    def ceiling(self, first_loss: float) -> float:
        """See `Step`; reverse KL from a sure teacher may begin far above guessing."""
        return highest_sane(first_loss, guessing=self._guessing)

    def _rows(self, step: int) -> NDArray[np.int64]:
        epoch, place = divmod(step, self.course.steps_per_epoch)
        return self._steps_of_epoch(epoch)[place]

    def _drawn(self, epoch: int) -> list[NDArray[np.int64]]:
        return epoch_steps(
            self._learned.lengths,
            rows_per_step=self._rows_per_step,
            seed=self._settings.seed,
            epoch=epoch,
            draws=self._draws,
        )


@torch.no_grad()
def _num_classes(model: nn.Module, encoded: EncodedSet, pad_id: int) -> int:
    """What the model itself says: the width of its answer to one row."""
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in collate(encoded, [0], pad_id=pad_id).items()}
    return model.eval()(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits.shape[-1]


BATCH = 256


@dataclass(frozen=True, slots=True)
class RowValidation:
    """What a validation found."""

    loss: float
    """Mean of the objective over rows, in nats (the soft part times the squared loss
    temperature)."""
    accuracy: float | None
    """Share of the labelled rows answered right; None if no row has a label."""


@torch.no_grad()
def validate_rows(
    model: Any, encoded: EncodedSet, objective: Objective, *, pad_id: int, accelerator: Any = None
) -> RowValidation:
    """Mean objective and accuracy of a model on `encoded`; the model is left in the mode it was in.

    Args:
        model: As in `train_classifier`; dropout is off while this runs.
        encoded: N >= 1 rows. Without soft targets the loss is the cross-entropy to the labels, over
            the labelled rows.
        objective: Cost of each row.
        pad_id: Fills short rows.
        accelerator: Shares the batches among its processes; None: this process does all of them.
    """
    process, processes = (
        (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    )
    device = next(model.parameters()).device if accelerator is None else accelerator.device
    was_training = model.training
    model.eval()
    order = np.argsort(encoded.lengths, kind="stable")
    found = torch.zeros(2, device=device)
    for start in range(process * BATCH, len(order), processes * BATCH):
        batch = collate(encoded, order[start : start + BATCH], pad_id=pad_id)
        batch = {name: value.to(device) for name, value in batch.items()}
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        costs = objective(logits, batch.get("teacher_logprobs"), batch["labels"])
        found += torch.stack([costs.sum(), (logits.argmax(dim=-1) == batch["labels"]).sum()])
    if accelerator is not None and processes > 1:
        found = accelerator.reduce(found, reduction="sum")
    model.train(was_training)
    cost, right = found.tolist()
    labelled = len(encoded.labelled)
    rows = labelled if encoded.teacher_probs is None else len(encoded)
    return RowValidation(loss=cost / max(1, rows), accuracy=right / labelled if labelled else None)
