"""Which rows make which optimizer step: a pure function of seed and epoch.

A resumed run therefore sees what an unbroken one would have seen, and so does a run that cuts its
steps into smaller batches or spreads them over processes: what is drawn here are whole steps, cut
afterwards by `parts`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
