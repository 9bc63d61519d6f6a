"""The rows of a run: which can teach, which make which optimizer step, which of their words are
hidden, and those of a step as batches of this process.

Order and hidden words are pure functions of seed and step. A resumed run therefore sees what an
unbroken one would have seen, and so does a run that cuts its steps into smaller batches or spreads
them over processes: what is drawn here are whole steps, cut afterwards by `parts`. Word dropout
hides some input tokens, so that a student does not lean on single words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.data.examples.collate import EncodedSet, collate
from tutelage.errors import DataError
from tutelage.runs import seed_sequence

POOL_STEPS = 32
"""Steps among which rows are sorted by length. On short reviews padding is then 9 % of the real
tokens (250 % unsorted)."""


def epoch_steps(
    lengths: NDArray[np.int64],
    *,
    rows_per_step: int,
    seed: int,
    epoch: int,
    draws: int | None = None,
) -> list[NDArray[np.int64]]:
    """The optimizer steps of one epoch: rows of similar length together, steps in random order.

    Args:
        lengths: Tokens of each row, `[N]`.
        rows_per_step: Rows of one optimizer step; the last one drawn may have fewer.
        seed: Of the run.
        epoch: 0 for the first.
        draws: Rows to draw in all. None draws each row once; more than N goes round again in a new
            order, which is how a control without the unlabeled rows takes as many steps as the
            student it is compared with.

    Returns:
        Row indexes of each step, shorter rows first. Every row comes as often as any other, give or
        take one.

    Raises:
        ValueError: There is no row.
    """
    if not len(lengths):
        raise ValueError("no row given to draw steps from: expected at least one")
    draws = len(lengths) if draws is None else draws
    generator = np.random.default_rng(seed_sequence(seed, "order", epoch))
    rounds = [generator.permutation(len(lengths)) for _ in range(num_steps(draws, len(lengths)))]
    order = np.concatenate(rounds)[:draws]
    steps: list[NDArray[np.int64]] = []
    for start in range(0, draws, POOL_STEPS * rows_per_step):
        pool = order[start : start + POOL_STEPS * rows_per_step]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        steps += [
            pool[first : first + rows_per_step] for first in range(0, len(pool), rows_per_step)
        ]
    return [steps[place] for place in generator.permutation(len(steps))]


def num_steps(draws: int, rows_per_step: int) -> int:
    """Optimizer steps of an epoch that draws so many rows."""
    return -(-draws // rows_per_step)


def parts(
    rows: int, *, batch_size: int, process: int = 0, processes: int = 1
) -> list[NDArray[np.int64]]:
    """The batches into which this process cuts a step.

    Args:
        rows: Of the step.
        batch_size: Rows that all processes together take at a time.
        process: The number of this process, from 0.
        processes: How many share each batch, row by row in turn.

    Returns:
        Places within the step. Over all processes each place comes once; a process without a row in
        a batch gets an empty part, so that all have as many parts.
    """
    places = np.arange(rows)
    return [
        places[first : first + batch_size][process::processes]
        for first in range(0, rows, batch_size)
    ]


@dataclass(frozen=True, slots=True)
class WordDropout:
    """Hides each token with a probability; tokens that mark the start or the end of every row
    stay.
    """

    share: float
    """Probability that a token is hidden, in [0, 1)."""
    unknown_id: int
    """What takes its place."""
    seed: int
    """Of the run."""
    keep_first: bool = False
    """The first token is a mark such as `[CLS]`."""
    keep_last: bool = False
    """The last token is a mark such as `[SEP]`."""

    @classmethod
    def for_rows(
        cls, encoded: EncodedSet, *, share: float, unknown_id: int | None, seed: int
    ) -> WordDropout:
        """Word dropout for rows like these: a token that every row starts (or ends) with is a mark,
        not a word.

        Raises:
            DataError: Words are to be dropped but there is no id for that.
        """
        if share and unknown_id is None:
            raise DataError(
                f"word_dropout={share} given, but the tokenizer has neither a mask nor an unknown "
                "token to put "
                "in the place of words: set word_dropout: 0"
            )
        firsts = {ids[0] for ids in encoded.input_ids if len(ids)}
        lasts = {ids[-1] for ids in encoded.input_ids if len(ids)}
        several = len(encoded) > 1
        return cls(
            share,
            -1 if unknown_id is None else unknown_id,
            seed,
            keep_first=several and len(firsts) == 1,
            keep_last=several and len(lasts) == 1,
        )

    def hidden(self, lengths: NDArray[np.int64], *, step: int) -> NDArray[np.bool_]:
        """Which tokens a step hides.

        Args:
            lengths: Tokens of each row of the step, `[B]`.
            step: Optimizer steps done before.

        Returns:
            `[B, T]` with T the longest row; padding is never hidden.
        """
        generator = np.random.default_rng(seed_sequence(self.seed, "word_dropout", step))
        places = np.arange(max(1, int(lengths.max())))
        words = (places >= int(self.keep_first)) & (
            places < (lengths - int(self.keep_last))[:, None]
        )
        return (generator.random(words.shape) < self.share) & words


def training_rows(encoded: EncodedSet, *, use_teacher: bool) -> EncodedSet:
    """The rows that can teach something: all with a teacher, the labelled ones without.

    Raises:
        DataError: There is none.
    """
    if not len(encoded):
        raise DataError("no row to learn from given; expected at least one")
    if use_teacher:
        if encoded.teacher_probs is None:
            raise DataError(
                "the training rows carry no soft targets: label them first, or train with "
                "use_teacher=False"
            )
        return encoded
    if not len(encoded.labelled):
        raise DataError(
            f"none of the {len(encoded)} training rows has a label, and a control learns from "
            "labels alone: "
            "give labelled rows, or leave the control out"
        )
    return encoded.without_teacher().select(encoded.labelled)


def validation_rows(encoded: EncodedSet, *, use_teacher: bool) -> EncodedSet:
    """The rows that a loss can be measured on: all where there are soft targets, else the labelled
    ones.

    Raises:
        DataError: There is none.
    """
    if use_teacher and encoded.teacher_probs is not None and len(encoded):
        return encoded
    if not len(encoded.labelled):
        missing = "neither labels nor soft targets" if use_teacher else "no labels"
        raise DataError(
            f"the {len(encoded)} validation rows have {missing}, so they cannot tell "
            "which epoch is best: give labelled rows"
        )
    return encoded.without_teacher().select(encoded.labelled)


def step_batches(
    encoded: EncodedSet,
    rows: NDArray[np.int64],
    *,
    batch_size: int,
    pad_id: int,
    noise: WordDropout,
    step: int,
    accelerator: Any,
) -> Iterator[dict[str, Tensor]]:
    """Cut a step into batches.

    Args:
        encoded: All rows.
        rows: Those of the step.
        batch_size: Rows that all processes together take at a time.
        pad_id: Fills short rows.
        noise: Which words to hide.
        step: Optimizer steps done before.
        accelerator: Says which process this is and where its tensors live.

    Yields:
        What `collate` gives, word dropout included, on the device. A process without a row in a
        batch must all the same take part in the exchange of gradients: it gets one row and
        `weights` of 0.
    """
    hidden = noise.hidden(encoded.lengths[rows], step=step) if noise.share else None
    process, processes = accelerator.process_index, accelerator.num_processes
    for places in parts(len(rows), batch_size=batch_size, process=process, processes=processes):
        batch = collate(encoded, rows[places if len(places) else [0]], pad_id=pad_id)
        if not len(places):
            batch["weights"] = torch.zeros(1)
        elif hidden is not None:
            dropped = torch.from_numpy(hidden[places, : batch["input_ids"].shape[1]])
            batch["input_ids"].masked_fill_(dropped, noise.unknown_id)
        yield {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
