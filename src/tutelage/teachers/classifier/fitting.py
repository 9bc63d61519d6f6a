"""Fitting a classifier teacher's parts to labelled rows: linear heads on features, or weights by
gradient.

In: a loaded model and labelled rows. Out: a `Fitted`, what the teacher needs beside the model.
`ClassifierTeacher.fit` chooses between the ways and puts the teacher together.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import log_softmax

from tutelage.data.splits import connected
from tutelage.errors import ModelError
from tutelage.models.loading import LanguageModel
from tutelage.teachers.classifier.features import Pooling, weights_read
from tutelage.teachers.classifier.finetuning import fine_tune, sequence_logprobs, with_lora
from tutelage.teachers.classifier.head import assign_folds, fit_heads, linear_logprobs
from tutelage.teachers.classifier.reading import TextReadings, read_features
from tutelage.teachers.prompted.calibration import fit_temperature
from tutelage.types import Example, Progress


@dataclass(frozen=True)
class Labelled:
    """The labelled rows that a teacher is fitted to, rendered."""

    ids: list[bytes]
    """Content ids of the texts before rendering."""
    texts: list[str]
    """What the model reads."""
    gold: np.ndarray
    """Class indices, int64 [N]."""
    groups: list[int]
    """Rows of a group share a fold."""

    def fold_of(self, folds: np.ndarray) -> dict[bytes, int]:
        """Content id -> fold; empty if `folds` is."""
        return {key: int(fold) for key, fold in zip(self.ids, folds, strict=False)}


@dataclass(frozen=True)
class Fitted:
    """What fitting gave."""

    language_model: LanguageModel
    """The model given, or the one with fitted weights."""
    fold_of: dict[bytes, int] = field(default_factory=dict)
    """Content id -> fold whose head did not see that row."""
    folds: int = 0
    """How many fold heads there are."""
    weight: np.ndarray | None = None
    """Linear heads, [1 + folds, C, D]."""
    bias: np.ndarray | None = None
    """Their biases, [1 + folds, C]."""
    temperature: float = 1.0
    """Fitted on rows that their head did not see."""
    regularisation: float = 0.0
    """L2 penalty of linear heads."""
    answers: dict[bytes, np.ndarray] = field(default_factory=dict)
    """Content id -> soft target, float32 [C], of each row that a linear head was fitted to: by the
    head that did not see it where there are folds. Kept because their features have been read once
    and need not be read again."""
    held_out_logprobs: np.ndarray | None = None
    """Calibrated log-probabilities of each row by the head that did not see it, [N, C]; None
    without folds."""
    losses: tuple[float, ...] = ()
    """Cross-entropy of each gradient step on all rows, in nats."""


def labelled_rows(
    examples: Sequence[Example], groups: Sequence[Hashable] | None, *, template: str
) -> Labelled:
    """The rows that have a label, rendered; rows of one given group, or of equal text, share a
    group.

    Args:
        examples: Rows; those without a label are passed over.
        groups: One per example, or None.
        template: Text put around each text, with `{text}` in it.

    Returns:
        The labelled rows.

    Raises:
        ModelError: There is none.
    """
    merged = _merged_groups(examples, groups)
    kept = [index for index, example in enumerate(examples) if example.label is not None]
    if not kept:
        raise ModelError(
            "no labelled rows were given, so there is nothing to fit the teacher to; label some "
            "rows"
        )
    return Labelled(
        ids=[examples[index].example_id for index in kept],
        texts=[template.replace("{text}", examples[index].text) for index in kept],
        gold=np.array([examples[index].label for index in kept], dtype=np.int64),
        groups=[merged[index] for index in kept],
    )


def fit_linear(
    language_model: LanguageModel,
    rows: Labelled,
    *,
    num_classes: int,
    layers: Sequence[int],
    pooling: Sequence[Pooling],
    regularisation: float | None,
    cross_fit: int,
    calibrate: bool,
    batch_tokens: int,
    max_length: int,
    readings: TextReadings | None,
    seed: int,
    progress: Progress,
) -> Fitted:
    """Read features once, fit logistic regressions on them; arguments as in `read_features` and
    `fit_heads`.
    """
    features = read_features(
        language_model,
        rows.texts,
        readings=readings,
        layers=layers,
        pooling=pooling,
        batch_tokens=batch_tokens,
        max_length=max_length,
        progress=progress,
    )
    heads = fit_heads(
        features,
        rows.gold,
        num_classes=num_classes,
        groups=rows.groups,
        folds=cross_fit,
        regularisation=regularisation,
        calibrate=calibrate,
        seed=seed,
        progress=progress,
    )
    if len(heads.fold_of_row):
        logprobs = heads.held_out_logprobs
    else:
        seen_by_all = np.zeros(len(features), dtype=np.int64)
        raw = linear_logprobs(features, heads.weight, heads.bias, heads=seen_by_all)
        logprobs = log_softmax(raw / heads.temperature, axis=1)
    return Fitted(
        language_model,
        answers=dict(zip(rows.ids, np.exp(logprobs).astype(np.float32), strict=True)),
        fold_of=rows.fold_of(heads.fold_of_row),
        folds=len(heads.weight) - 1,
        weight=heads.weight,
        bias=heads.bias,
        temperature=heads.temperature,
        regularisation=heads.regularisation,
        held_out_logprobs=heads.held_out_logprobs,
    )


def fit_by_gradient(
    language_model: LanguageModel,
    rows: Labelled,
    *,
    num_classes: int,
    rank: int | None,
    cross_fit: int,
    calibrate: bool,
    batch_tokens: int,
    max_length: int,
    seed: int,
    progress: Progress,
    **options: Any,
) -> Fitted:
    """Fit adapters of a `rank`, one per fold and one for all rows, or with rank None every weight.

    The fit is in float32 (`fine_tune`); held-out rows are predicted in the precision that the
    teacher labels in.

    Args:
        language_model: With a sequence-classification head.
        rows: The labelled rows.
        num_classes: C.
        rank: Of the adapters; None fits every weight.
        cross_fit: Folds; 0 for none.
        calibrate: Fit a temperature on held-out rows, if there are folds.
        batch_tokens: Tokens run at once when predicting.
        max_length: Tokens of a text that are read.
        seed: For folds, order and dropout.
        progress: Where bars go.
        **options: `epochs`, `learning_rate`, `batch_size` of `fine_tune`.

    Returns:
        The model with fitted weights, its folds and temperature.

    Raises:
        ModelError: Folds without adapters: each would keep a whole model.
    """
    if rank is None and cross_fit:
        raise ModelError(
            "cross_fit is not available for method full (each fold would keep a whole model); use "
            "method lora or head"
        )
    folds = (
        assign_folds(rows.gold, rows.groups, cross_fit, seed)
        if cross_fit
        else np.zeros(0, np.int64)
    )
    num_folds = len(np.unique(folds))
    tokenizer, model = language_model.tokenizer, language_model.model
    if rank is not None:
        model = with_lora(
            model, rank=rank, adapters=[adapter_name(head) for head in range(num_folds + 1)]
        )
    settings = {**options, "max_length": max_length, "seed": seed, "progress": progress}
    held_out = np.zeros((len(folds), num_classes))
    for fold in range(num_folds):
        model.set_adapter(adapter_name(fold + 1))
        seen, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        title = f"Fitting the teacher, fold {fold + 1} of {num_folds}"
        fine_tune(
            model,
            tokenizer,
            [rows.texts[i] for i in seen],
            rows.gold[seen].tolist(),
            title=title,
            **settings,
        )
        asked = [rows.texts[i] for i in out]
        held_out[out] = sequence_logprobs(
            model, tokenizer, asked, batch_tokens=batch_tokens, max_length=max_length
        )
    if rank is not None:
        model.set_adapter(adapter_name(0))
    losses = fine_tune(model, tokenizer, rows.texts, rows.gold.tolist(), **settings)
    temperature = fit_temperature(held_out, rows.gold) if num_folds and calibrate else 1.0
    return Fitted(
        replace(language_model, model=model),
        fold_of=rows.fold_of(folds),
        folds=num_folds,
        temperature=temperature,
        held_out_logprobs=log_softmax(held_out / temperature, axis=1) if num_folds else None,
        losses=tuple(losses),
    )


def adapter_name(head: int) -> str:
    """The name of the adapter fitted on all rows (0) or on all but fold `head - 1`."""
    return "default" if head == 0 else f"fold_{head - 1}"


def _merged_groups(examples: Sequence[Example], groups: Sequence[Hashable] | None) -> list[int]:
    """A group number per row, such that rows of one given group, and rows of equal text, share
    it.
    """
    given = [None] * len(examples) if groups is None else groups
    return connected(
        [
            [("text", example.example_id), *([] if group is None else [("group", group)])]
            for example, group in zip(examples, given, strict=True)
        ]
    ).tolist()


_BEFORE_THE_FIT = "original_module"
"""Where PEFT keeps a classification head as it was."""


def footprint(fitted: Fitted, *, layers: Sequence[int] = ()) -> tuple[int, int]:
    """Number of weights that an answer to a new text takes, and their bytes in the precision they
    are used in.

    Under a linear head these are the embeddings, the layers up to the deepest one that the head
    reads, and the head fitted on all rows; otherwise the model, with only the adapter fitted on all
    rows if there are adapters. Layers that do not run, the output matrix, and what the folds fitted
    are left out: nobody who answers with it needs them.

    Args:
        fitted: What fitting gave.
        layers: The layers that a linear head reads.
    """
    model = fitted.language_model
    if fitted.weight is not None and fitted.bias is not None:
        read, head = weights_read(model, layers), (fitted.weight[0], fitted.bias[0])
    else:
        unused = {_BEFORE_THE_FIT, *(adapter_name(fold + 1) for fold in range(fitted.folds))}
        read = [
            weight
            for name, weight in model.model.named_parameters()
            if unused.isdisjoint(name.split("."))
        ]
        head = ()
    parameters = sum(weight.numel() for weight in read) + sum(array.size for array in head)
    return parameters, sum(weight.nbytes for weight in read) + sum(array.nbytes for array in head)
