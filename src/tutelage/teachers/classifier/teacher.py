"""A language model or encoder with a classification head as teacher: fitted to labelled rows first,
or found fitted.

In: a loaded model, labels, labelled examples. Out: a `ClassifierTeacher` that writes soft targets,
saves to a folder (safetensors and JSON, no pickle) and loads from it. Rows it was fitted on are
answered by the head of the fold that did not see them, found by the text's content id, so that
`label` needs to know nothing else about a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from tutelage.errors import ModelError
from tutelage.models.contributions import Contributions
from tutelage.models.loading import LanguageModel
from tutelage.runs import fingerprint
from tutelage.teachers.classifier.features import (
    Pooling,
    default_layers,
    num_layers,
)
from tutelage.teachers.classifier.finetuning import (
    output_columns,
    require_sequence_head,
    sequence_logprobs,
)
from tutelage.teachers.classifier.fitting import (
    Fitted,
    adapter_name,
    fit_by_gradient,
    fit_linear,
    footprint,
    labelled_rows,
)
from tutelage.teachers.classifier.folder import Description, Method, read_teacher, write_teacher
from tutelage.teachers.classifier.head import linear_logprobs
from tutelage.teachers.classifier.read_model import ReadModel, Reads
from tutelage.teachers.classifier.reading import TextReadings, read_features
from tutelage.types import SILENT, Example, Progress


class ClassifierTeacher:
    """Writes soft targets with a classification head. Make one with `fit` or `load`."""

    def __init__(
        self,
        fitted: Fitted,
        description: Description,
        *,
        columns: Sequence[int] = (),
        batch_tokens: int = 4096,
        readings: TextReadings | None = None,
    ) -> None:
        """Put the parts together; `fit` and `load` do this.

        Args:
            fitted: The model and what was fitted.
            description: What the teacher is.
            columns: For a model whose outputs have another order than the labels: the output of
                each label.
            batch_tokens: Tokens run at once.
            readings: Where features of texts are kept; None keeps none.
        """
        self.language_model = fitted.language_model
        self.description = description
        """Everything that is saved beside the weights."""
        self.labels: tuple[str, ...] = description.labels
        """Class names in the order of the soft targets."""
        self.batch_tokens = batch_tokens
        self.readings = readings
        """What it has read; only a head on features looks there."""
        self.fitted = fitted
        """Heads, folds, held-out log-probabilities and losses (the last two only after `fit`)."""
        self._columns = list(columns) or list(range(len(self.labels)))

    @classmethod
    def fit(
        cls,
        language_model: LanguageModel,
        labels: Sequence[str],
        examples: Sequence[Example] = (),
        *,
        method: Method = "head",
        layers: Sequence[int] | None = None,
        pooling: Sequence[Pooling] = ("mean", "last"),
        regularisation: float | None = None,
        cross_fit: int | None = None,
        calibrate: bool = True,
        rank: int = 8,
        epochs: int = 2,
        learning_rate: float | None = None,
        batch_size: int = 16,
        template: str = "{text}",
        batch_tokens: int = 4096,
        max_length: int = 512,
        groups: Sequence[Hashable] | None = None,
        trust_remote_code: bool = False,
        readings: TextReadings | None = None,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> ClassifierTeacher:
        """Fit a teacher to labelled rows.

        Args:
            language_model: Loaded with `head="backbone"` (or any) for method `head`, with
                `head="sequence"` and the labels for `lora`, `full` and `none`.
            labels: Class names; `Example.label` indexes them.
            examples: Rows; those without a label are passed over. Not used by `none`.
            method: `head`: logistic regression on features of several layers. `lora`: adapters on
                every linear layer. `full`: every weight. `none`: the model already is a fitted
                classifier.
            layers: `head`: which `hidden_states`; None means 60, 80 and 100 % of the depth.
            pooling: `head`: `mean`, `last` or both.
            regularisation: `head`: L2 penalty; None chooses it by cross-validation.
            cross_fit: Folds; each labelled row's soft target then comes from the head that did not
                see it. None means 5 for `head` and 0 for the others (each fold costs a whole fit).
                `full` cannot.
            calibrate: Fit a temperature on rows that their head did not see (`lora` only with
                folds).
            rank: `lora`: rank of the adapters.
            epochs: `lora`, `full`: passes over the rows.
            learning_rate: `lora`, `full`; None means 2e-4 and 2e-5.
            batch_size: `lora`, `full`: texts per step.
            template: Text put around each text, with `{text}` in it.
            batch_tokens: Tokens run at once.
            max_length: Tokens of a text that are read.
            groups: One per example; rows of a group share a fold. None keeps only equal texts
                together.
            trust_remote_code: Recorded, so that `load` allows what was allowed here.
            readings: `head`: where what is read is kept, for a fit that goes on after a kill, for
                `label`, and for students; None keeps nothing.
            seed: For folds, order and dropout.
            progress: Where bars go.

        Returns:
            The fitted teacher.

        Raises:
            ModelError: The model has the wrong head, or the rows cannot fit the method.
        """
        if template.count("{text}") != 1:
            raise ModelError(f"template {template!r} given; expected exactly one {{text}} in it")
        description = Description(
            method=method,
            labels=tuple(labels),
            model=language_model.name,
            model_fingerprint=language_model.fingerprint,
            dtype=str(language_model.dtype).removeprefix("torch."),
            template=template,
            max_length=max_length,
            trust_remote_code=trust_remote_code,
        )
        if method == "none":
            columns = output_columns(language_model, labels)
            return cls(
                Fitted(language_model), description, columns=columns, batch_tokens=batch_tokens
            )
        rows = labelled_rows(examples, groups, template=template)
        shared: dict[str, Any] = {
            "num_classes": len(labels),
            "calibrate": calibrate,
            "batch_tokens": batch_tokens,
            "max_length": max_length,
            "seed": seed,
            "progress": progress,
        }
        if method == "head":
            chosen = (
                tuple(layers)
                if layers is not None
                else tuple(default_layers(num_layers(language_model)))
            )
            description = replace(description, layers=chosen, pooling=tuple(pooling))
            fitted = fit_linear(
                language_model,
                rows,
                layers=chosen,
                pooling=pooling,
                regularisation=regularisation,
                cross_fit=5 if cross_fit is None else cross_fit,
                readings=readings,
                **shared,
            )
        else:
            require_sequence_head(language_model, labels)
            fitted = fit_by_gradient(
                language_model,
                rows,
                rank=rank if method == "lora" else None,
                cross_fit=cross_fit or 0,
                epochs=epochs,
                learning_rate=learning_rate or (2e-4 if method == "lora" else 2e-5),
                batch_size=batch_size,
                **shared,
            )
        description = replace(
            description,
            temperature=fitted.temperature,
            regularisation=fitted.regularisation,
            folds=fitted.folds,
        )
        return cls(fitted, description, batch_tokens=batch_tokens, readings=readings)

    @property
    def fingerprint(self) -> str:
        """Names everything the soft targets depend on: weights, head, temperature, template,
        folds.
        """
        content = asdict(replace(self.description, model="", trust_remote_code=False))
        folds = sorted((key.hex(), fold) for key, fold in self.fitted.fold_of.items())
        return fingerprint("classifier", content, self._columns, folds, self._weights_digest)

    @property
    def parameters(self) -> int:
        """Number of weights that run for an answer, the head's included; layers above the deepest
        one read do not.
        """
        return self._footprint[0]

    @property
    def disk_bytes(self) -> int:
        """Bytes of the weights that `parameters` counts, in the precision they are used in."""
        return self._footprint[1]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.device

    @cached_property
    def _footprint(self) -> tuple[int, int]:
        return footprint(self.fitted, layers=self.description.layers)

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        """Soft targets of examples in any order, float32 [B, C], each row summing to 1.

        A row that the teacher was fitted on is answered by the head of the fold that did not see
        it.
        """
        known = self.fitted.answers
        fresh = [example.example_id not in known for example in examples]
        probs = np.zeros((len(examples), len(self.labels)), dtype=np.float32)
        for row, example in enumerate(examples):
            probs[row] = known.get(example.example_id, 0.0)
        if any(fresh):
            probs[fresh] = self._run(
                [example for example, new in zip(examples, fresh, strict=True) if new]
            )
        return probs

    def _run(self, examples: Sequence[Example]) -> np.ndarray:
        """Soft targets of texts that must be read, float32 [B, C]."""
        texts = [self.description.template.replace("{text}", example.text) for example in examples]
        heads = np.array(
            [self.fitted.fold_of.get(example.example_id, -1) + 1 for example in examples],
            dtype=np.int64,
        )
        if self.fitted.weight is not None and self.fitted.bias is not None:
            features = read_features(
                self.language_model,
                texts,
                readings=self.readings,
                layers=self.description.layers,
                pooling=self.description.pooling,
                batch_tokens=self.batch_tokens,
                max_length=self.description.max_length,
            )
            logprobs = linear_logprobs(features, self.fitted.weight, self.fitted.bias, heads=heads)
        else:
            logprobs = np.zeros((len(texts), len(self.labels)))
            for head in np.unique(heads):
                if self.description.method == "lora":
                    self.language_model.model.set_adapter(adapter_name(int(head)))
                rows = np.flatnonzero(heads == head)
                logprobs[rows] = self._sequence_logprobs([texts[i] for i in rows])
        return np.exp(log_softmax(logprobs / self.description.temperature, axis=1)).astype(
            np.float32
        )

    def with_words(self) -> LanguageModel | ReadModel:
        """The language model, with what it remembers of words and the linear head on it, if it has
        one.
        """
        weight, bias = self.fitted.weight, self.fitted.bias
        if self.description.method == "lora":  # as it answers new texts
            return self.for_new_texts().language_model
        if weight is None or bias is None:
            return self.language_model
        about = self.description
        reads = Reads(about.layers, about.pooling, weight[0], bias[0], about.temperature)
        return ReadModel(self.language_model, self.readings, reads=reads)

    def for_new_texts(self) -> ClassifierTeacher:
        """The teacher as it would be deployed, to measure what an answer costs.

        It runs every text, also those it was fitted on or has read before, and always by what was
        fitted on all rows; LoRA adapters are merged into a copy of the weights, since nobody would
        pay for them at every answer. It has another fingerprint: soft targets are written by the
        teacher itself.
        """
        fitted = replace(self.fitted, answers={}, fold_of={})
        description = self.description
        if description.method == "lora":
            self.language_model.model.set_adapter(adapter_name(0))
            merged = deepcopy(self.language_model.model).merge_and_unload()
            fitted = replace(
                fitted, language_model=replace(self.language_model, model=merged), folds=0
            )
            description = replace(description, method="full", folds=0)
        return type(self)(
            fitted, description, columns=self._columns, batch_tokens=self.batch_tokens
        )

    @property
    def integrated(self) -> Callable[[str], Contributions] | None:
        """Integrated gradients of a text, by what was fitted on all rows; None where a head on
        features answers, and where there are none, see `models.gradients.has_gradients`.
        """
        from tutelage.models.gradients import has_gradients
        from tutelage.teachers.classifier.explained import gradients_of

        lm = self.language_model
        if self.fitted.weight is not None or not has_gradients(lm.model, lm.tokenizer):
            return None
        if self.description.method == "lora":
            lm.model.set_adapter(adapter_name(0))
        return gradients_of(lm, self.description, self._columns)

    def save(self, folder: Path) -> None:
        """Write the teacher to a folder: `teacher.json`, `head.safetensors`, and what its method
        fitted.

        The language model below a `head` or `lora` teacher is not copied; it is named, and checked
        when loaded. A `full` teacher is at the same time an ordinary sequence-classification
        folder.
        """
        write_teacher(folder, self.fitted, self.description)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        *,
        language_model: LanguageModel | None = None,
        batch_tokens: int = 4096,
        readings: TextReadings | None = None,
    ) -> ClassifierTeacher:
        """Read a teacher that `save` wrote.

        Args:
            folder: The folder.
            language_model: The model below the head, if it is in memory already (`head` and `none`
                only).
            batch_tokens: Tokens run at once.
            readings: Where features of texts are kept; None keeps none.

        Returns:
            A teacher with the fingerprint of the one saved.

        Raises:
            ModelError: The folder holds no teacher, or the model below it is not the one it was
                fitted on.
        """
        fitted, description = read_teacher(Path(folder), language_model=language_model)
        columns = (
            output_columns(fitted.language_model, description.labels)
            if description.method == "none"
            else ()
        )
        return cls(
            fitted, description, columns=columns, batch_tokens=batch_tokens, readings=readings
        )

    @cached_property
    def _weights_digest(self) -> str:
        """SHA-256 of what was fitted."""
        total = hashlib.sha256()
        match self.description.method:
            case "head":
                assert self.fitted.weight is not None
                assert self.fitted.bias is not None
                total.update(self.fitted.weight.tobytes() + self.fitted.bias.tobytes())
            case "lora" | "full":
                only = ("lora_", "modules_to_save") if self.description.method == "lora" else ("",)
                for name, tensor in sorted(self.language_model.model.state_dict().items()):
                    if any(part in name for part in only):
                        total.update(
                            name.encode() + tensor.detach().float().cpu().numpy().tobytes()
                        )
        return total.hexdigest()

    def _sequence_logprobs(self, texts: Sequence[str]) -> np.ndarray:
        """Class log-probabilities of rendered texts by the adapter in force, in the order of the
        labels.
        """
        lm = self.language_model
        logprobs = sequence_logprobs(
            lm.model,
            lm.tokenizer,
            texts,
            batch_tokens=self.batch_tokens,
            max_length=self.description.max_length,
        )
        return logprobs[:, self._columns]
