"""What the teacher says about the documents of a batch, from a store or from the teacher itself,
over all its tokens or those that a student has.

In: documents. Out: the teacher side of the loss over their trained positions, one document after
the other. Targets are found by content, so order, batching and packing never matter. For a student
with only some of the tokens, the teacher's distribution is taken over those that stay,
`p(v) / sum of p over them`, which is exactly what the teacher would say were its own vocabulary
trimmed: logits of tokens that stay do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import TargetsIncomplete, TargetsMismatch
from tutelage.losses import BucketTeacher, HiddenTeacher, SampledTeacher, TeacherSide
from tutelage.models.output import OutputLayer
from tutelage.runs import fingerprint
from tutelage.students import VocabularyMap
from tutelage.targets import HiddenTargets, SparseTargets, TargetStore
from tutelage.teachers.teacher import HiddenStates
from tutelage.types import Document


class TargetSource(Protocol):
    """Gives the teacher side of a batch."""

    @property
    def fingerprint(self) -> str:
        """Names everything that the answers depend on."""
        ...

    def require(self, documents: Sequence[Document]) -> None:
        """Make sure, before anything is computed, that there will be an answer for each document.

        Raises:
            TargetsIncomplete: There is none for some; the message names them.
        """
        ...

    def teacher_side(self, documents: Sequence[Document], device: torch.device) -> TeacherSide:
        """The teacher's distributions at every trained position of the documents, in order."""
        ...


@dataclass(frozen=True)
class StoredTargets:
    """Soft targets that were written before."""

    store: TargetStore
    """Of kind `sampled`, `top_k` or `hidden`."""

    @property
    def fingerprint(self) -> str:
        """Of the teacher, the encoding and the seed of its draws."""
        return fingerprint("stored targets", self.store.manifest.identity)

    def require(self, documents: Sequence[Document]) -> None:
        """Make sure that the store holds every document.

        Raises:
            TargetsIncomplete: It lacks some; the first is named by file and row.
        """
        missing = [document for document in documents if document.example_id not in self.store]
        if missing:
            first = missing[0]
            raise TargetsIncomplete(
                f"there are no soft targets for {len(missing):,} of {len(documents):,} documents, "
                "the first is "
                f"{first.source or 'document'} row {first.row} ({len(first.token_ids)} tokens). "
                "Its text, the "
                "tokenizer or the choice of trained tokens changed since labelling; label again: "
                "tutelage label recipe.yaml"
            )

    def teacher_side(self, documents: Sequence[Document], device: torch.device) -> TeacherSide:
        """The stored distributions, padded to the longest support of the batch."""
        found = self.store.lookup([document.example_id for document in documents])
        if self.store.manifest.kind == "hidden":
            return self._hidden(found, device)
        return sparse_side(found, kind=self.store.manifest.kind, device=device)

    def _hidden(self, found: Sequence[HiddenTargets], device: torch.device) -> HiddenTeacher:
        states = [torch.from_numpy(values.states).to(device) for values in found]
        scales = [torch.from_numpy(values.scales).to(device) for values in found]
        output, channels = self._output_on(device)
        hidden = torch.cat(states).float() * torch.cat(scales)[:, None]
        if channels is not None:
            hidden *= channels
        return _hidden_side(hidden, output)

    def _output_on(self, device: torch.device) -> tuple[OutputLayer, Tensor | None]:
        """The teacher's output layer and channels where they are needed, brought there once."""
        if device not in self._placed:
            output, channels = self._output
            there = None if channels is None else channels.to(device)
            self._placed[device] = output.to(device), there
        return self._placed[device]

    @cached_property
    def _placed(self) -> dict[torch.device, tuple[OutputLayer, Tensor | None]]:
        return {}

    @cached_property
    def _output(self) -> tuple[OutputLayer, Tensor | None]:
        """The teacher's output layer, read once, and what stored states are multiplied by to be the
        teacher's own, [H].
        """
        matrix = self.store.output_matrix()
        weight = torch.from_numpy(matrix.weight)
        bias = None if matrix.bias is None else torch.from_numpy(matrix.bias)
        channels = None if matrix.channels is None else torch.from_numpy(matrix.channels)
        if channels is not None:
            # So that states are the teacher's own, which hidden matching needs.
            weight = weight / channels
        return OutputLayer(weight, bias, matrix.scale, matrix.cap), channels


@dataclass(frozen=True)
class LiveTargets:
    """The teacher itself, run beside the student: nothing is written, every epoch pays for it
    again.
    """

    teacher: HiddenStates
    """Who answers."""

    @property
    def fingerprint(self) -> str:
        """That of the teacher."""
        return f"live {self.teacher.fingerprint}"

    def require(self, documents: Sequence[Document]) -> None:
        """A living teacher has an answer for everything that it can read.

        Raises:
            DataError: A document is longer than its context.
        """
        next(self.teacher.batches(documents), None)  # which looks at all of them first

    def teacher_side(self, documents: Sequence[Document], device: torch.device) -> TeacherSide:
        """Final hidden states now, to be multiplied with the teacher's output matrix chunk by
        chunk.
        """
        hidden = torch.cat(self.teacher.hidden_states(documents)).to(device)
        return _hidden_side(hidden, self.teacher.head.detach().to(device))


def _hidden_side(hidden: Tensor, output: OutputLayer) -> HiddenTeacher:
    """Final states and what makes logits of them, as the losses take them."""
    return HiddenTeacher(
        hidden, output.weight, bias=output.bias, scale=output.scale, cap=output.cap
    )


def sparse_side(
    found: Sequence[SparseTargets], *, kind: str, device: torch.device | str = "cpu"
) -> SampledTeacher | BucketTeacher:
    """Ragged entries of many documents as one padded rectangle.

    Args:
        found: The targets of each document.
        kind: `sampled` or `top_k`.
        device: Where the tensors go.

    Returns:
        `[P, K]` ids and values; K is the largest number of entries a position has.
    """
    counts = np.concatenate([values.counts for values in found] or [np.zeros(0, np.int64)]).astype(
        np.int64
    )
    ids = np.concatenate([values.ids for values in found] or [np.zeros(0, np.int32)])
    logprobs = np.concatenate([values.logprobs for values in found] or [np.zeros(0, np.float32)])
    width = max(1, int(counts.max(initial=0)))
    filled = np.arange(width) < counts[:, None]
    ids_PK = np.zeros(filled.shape, np.int64)
    ids_PK[filled] = ids
    if kind == "top_k":
        logprobs_PK = np.full(filled.shape, -np.inf, np.float32)
        logprobs_PK[filled] = logprobs
        return BucketTeacher(
            torch.from_numpy(ids_PK).to(device), torch.from_numpy(logprobs_PK).to(device)
        )
    probs_PK = np.zeros(filled.shape, np.float32)
    probs_PK[filled] = np.exp(logprobs)
    entropies = np.concatenate(
        [values.entropies for values in found] or [np.zeros(0, np.float32)]
    ).astype(np.float32)
    return SampledTeacher(
        torch.from_numpy(ids_PK).to(device),
        torch.from_numpy(probs_PK).to(device),
        torch.from_numpy(entropies).to(device),
    )


class TrimmedTargets:
    """A source of soft targets, seen by a student with fewer tokens.

    Only whole distributions can be narrowed like this. Of a sample the sum over the tokens that
    stay is itself a random number, and dividing by it is biased; of the most likely tokens it is
    not known at all.

    Args:
        source: Speaks about the teacher's vocabulary.
        vocabulary: Which of its tokens the student has.
    """

    def __init__(self, source: TargetSource, vocabulary: VocabularyMap) -> None:
        self.source = source
        self.vocabulary = vocabulary
        self._cut: tuple[Tensor, Tensor, Tensor | None] | None = None

    @property
    def fingerprint(self) -> str:
        """Of the source and of the tokens that stay."""
        return fingerprint("trimmed targets", self.source.fingerprint, self.vocabulary.kept)

    def require(self, documents: Sequence[Document]) -> None:
        """Make sure that there will be an answer for each document.

        Raises:
            TargetsIncomplete: There is none for some.
        """
        self.source.require([self.vocabulary.teachers_document(document) for document in documents])

    def teacher_side(self, documents: Sequence[Document], device: torch.device) -> TeacherSide:
        """The teacher's distributions over the student's tokens.

        Raises:
            TargetsMismatch: The source holds no whole distributions.
        """
        originals = [self.vocabulary.teachers_document(document) for document in documents]
        found = self.source.teacher_side(originals, device)
        if not isinstance(found, HiddenTeacher):
            raise TargetsMismatch(
                "these targets hold no whole distributions, so they cannot be narrowed to the "
                "tokens of a student with "
                "a trimmed vocabulary: use targets of kind hidden or live, or vocabulary: full"
            )
        weight, bias = self._rows(found)
        return replace(found, weight=weight, bias=bias)

    def _rows(self, found: HiddenTeacher) -> tuple[Tensor, Tensor | None]:
        """The rows of the output matrix that stay; cut once, since sources give the same matrix
        every time.
        """
        if self._cut is None or self._cut[0].data_ptr() != found.weight.data_ptr():
            kept = torch.from_numpy(self.vocabulary.kept).to(found.weight.device)
            bias = None if found.bias is None else found.bias.index_select(0, kept)
            self._cut = (found.weight, found.weight.index_select(0, kept), bias)
        return self._cut[1], self._cut[2]
