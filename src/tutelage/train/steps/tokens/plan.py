"""Which documents make which optimizer step of a language-model student, and which can be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.data.documents.packing import micro_batches
from tutelage.errors import DataError
from tutelage.train.settings import LanguageTrainSettings
from tutelage.types import Document

StepDocuments = Sequence[Sequence[Sequence[int]]]
"""Micro-batches of rows of documents, by index."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Every step of a run, known before it begins."""

    steps: Sequence[StepDocuments]
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
    require_short_enough(documents, settings.sequence_length)
    lengths = np.array([len(document.token_ids) for document in documents], dtype=np.int64)
    steps: list[StepDocuments] = []
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


def require_short_enough(documents: Sequence[Document], sequence_length: int) -> None:
    """Make sure that every document fits into a row.

    Raises:
        DataError: One does not; it is named.
    """
    for document in documents:
        if len(document.token_ids) > sequence_length:
            raise DataError(
                f"{document.source or 'a document'} row {document.row} has "
                f"{len(document.token_ids)} tokens, more "
                f"than sequence_length {sequence_length}. Raise it, or set long_documents to split "
                "or truncate"
            )


def with_something_to_predict(documents: Sequence[Document], purpose: str) -> list[Document]:
    """The documents that have a trained token.

    Args:
        documents: Any.
        purpose: What they are for, for the message.

    Raises:
        DataError: There is none.
    """
    kept = [document for document in documents if document.positions]
    if not kept:
        raise DataError(
            f"no document has a token to predict, so there is nothing to {purpose}; expected texts "
            "of two tokens or "
            "more, or rows with a response"
        )
    return kept
