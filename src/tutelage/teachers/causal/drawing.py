"""Which tokens of a distribution are written down: an exact head and a fair draw of the tail, or
the k best.

In: logits of a chunk of positions. Out: ragged arrays as the store takes them. P positions, V
vocabulary.

Systematic sampling walks along the cumulative mass of the tail with one step and one random offset:
a token of mass p is met with probability p / step, and then stands for the mass of a step. So every
probability is right on average, the masses of a position sum to 1 in every single draw, and no
token is met twice, since no tail token is larger than a step.

The vocabulary is passed over as few times as can be: softmax, sums over blocks of ids, entropy.
Everything else happens inside the few blocks that hold head tokens or are met by the walk.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.targets import SparseTargets
from tutelage.targets.kinds import MOST_ENTRIES
from tutelage.teachers.causal.distributions import BLOCK, Distributions, few_at_a_time

NEGLIGIBLE_MASS = 1e-7
"""A tail of less mass, which float32 cannot tell from rounding, is added to the most likely
token."""


def uniforms(seed: int, example_id: bytes, positions: int) -> NDArray[np.float64]:
    """One number in [0, 1) for every position of a document, the same whatever the batch, the order
    or the machine.

    Args:
        seed: Of the store.
        example_id: The document's content id.
        positions: P.

    Returns:
        float64 [P], from a Philox generator keyed by both.
    """
    key = blake2b(seed.to_bytes(8, "little", signed=seed < 0) + example_id, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(
        positions
    )


def draw_sampled(
    logits: Tensor,
    offsets: NDArray[np.float64],
    *,
    threshold: float | None = None,
    budget: int | None = None,
    finer: int = 1,
) -> SparseTargets:
    """Keep likely tokens exactly and draw the others, without bias.

    Args:
        logits: Scores of the tokens that the tokenizer makes, float32 [P, V]; log-probabilities
            will do.
        offsets: One number in [0, 1) a position, from `uniforms`.
        threshold: Tokens at least so probable are head; the tail is walked along in steps of about
            so much mass.
        budget: In place of a threshold: entries of every position; head and step follow from it.
        finer: So many times as many entries of the tail, each of so much less mass, for
            `balancing.balance` to choose from; then a token may be met so many times.

    Returns:
        The entries of each position: its head by id, then its tail in the order of the walk, which
            is by id.

    Raises:
        ValueError: Neither or both of threshold and budget are given.

    Source: the head and step that make the variance of an unbiased sparse vector smallest, Barnes
        et al. 2024 (arXiv:2402.14925); systematic sampling, Madow 1949 (Annals of Mathematical
        Statistics 20).
    """
    if (threshold is None) == (budget is None):
        raise ValueError(f"threshold={threshold} and budget={budget} given; expected one of them")
    return join(
        [
            _draw(some, offsets[here], threshold=threshold, budget=budget, finer=finer)
            for here, some in few_at_a_time(logits)
        ]
    )


def keep_top_k(logits: Tensor, k: int) -> SparseTargets:
    """Keep the k most likely tokens; the mass that is lacking to 1 is the tail's.

    Args:
        logits: Scores, float32 [P, V]; log-probabilities will do.
        k: How many; all of them where V is smaller.

    Returns:
        k entries a position, most likely first.
    """
    parts = []
    for _, some in few_at_a_time(logits):
        best, ids = some.top(min(k, logits.shape[1]))
        counts = np.full(len(ids), ids.shape[1], np.uint16)
        logprobs = some.logits.gather(-1, ids) - some.normalisers[:, None]
        # A sum that rounding carries beyond 1 is no distribution.
        logprobs -= best.sum(dim=-1, keepdim=True).clamp_min(1.0).log()
        parts.append(
            SparseTargets(
                counts,
                counts.copy(),
                ids.to(torch.int32).flatten().cpu().numpy(),
                logprobs.clamp_max_(0.0).flatten().cpu().numpy(),
                some.entropies().cpu().numpy(),
            )
        )
    return join(parts)


def split_by_document(targets: SparseTargets, positions: list[int]) -> list[SparseTargets]:
    """Targets of several documents, one after the other, as one piece for each.

    Args:
        targets: Of all positions.
        positions: How many belong to each document.
    """
    ends = np.cumsum(targets.counts, dtype=np.int64)
    found, start, first = [], 0, 0
    for number in positions:
        stop = start + number
        last = int(ends[stop - 1]) if stop else 0
        found.append(
            SparseTargets(
                targets.counts[start:stop],
                targets.heads[start:stop],
                targets.ids[first:last],
                targets.logprobs[first:last],
                targets.entropies[start:stop],
            )
        )
        start, first = stop, last
    return found


def join(parts: list[SparseTargets]) -> SparseTargets:
    """Targets of chunks of positions as one."""
    empty: dict[str, Any] = {
        "counts": np.uint16, "heads": np.uint16, "ids": np.int32,
        "logprobs": np.float32, "entropies": np.float32
    }  # fmt: skip
    return SparseTargets(
        *(
            np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in parts)]).astype(
                dtype, copy=False
            )
            for name, dtype in empty.items()
        )
    )


def _draw(
    some: Distributions,
    offsets: NDArray[np.float64],
    *,
    threshold: float | None,
    budget: int | None,
    finer: int,
) -> SparseTargets:
    """As `draw_sampled`, of a few positions."""
    probs, sums = some.probs, some.sums.clone()
    if threshold is not None:
        limits = torch.full_like(probs[:, 0], threshold)
    else:
        assert budget is not None
        budget = min(budget, probs.shape[1])
        limits = _limit_of_budget(some, budget)

    # Heads lie in blocks that weigh at least as much; their mass is then taken out of what the walk
    # goes along.
    rows, blocks = (sums >= (limits * (1 - 1e-5))[:, None]).nonzero(as_tuple=True)
    inside = some.inside(rows, blocks)
    is_head = inside >= limits[rows, None]
    sums[rows, blocks] = inside.double().masked_fill_(is_head, 0.0).sum(dim=-1)
    places, columns = is_head.nonzero(as_tuple=True)
    head_rows = rows[places]
    heads = torch.bincount(head_rows, minlength=len(probs))

    ends = sums.cumsum(dim=-1)
    mass = ends[:, -1]
    # Where there is no head the mass is 1 but for rounding, and 1 / threshold often a whole number:
    # hence 1e-4.
    draws = mass / threshold + 1e-4 if threshold is not None else (budget or 0) - heads.double()
    draws = torch.minimum(draws.floor(), (MOST_ENTRIES - heads).double()).clamp_min(1).long()
    draws = torch.where(mass > NEGLIGIBLE_MASS, draws * finer, 0)
    step = mass / draws.clamp_min(1)
    turns = torch.arange(
        int(draws.max()) if len(draws) else 0, dtype=torch.float64, device=probs.device
    )
    points = (torch.from_numpy(offsets).to(probs.device)[:, None] + turns) * step[:, None]
    points = torch.minimum(points, (mass * (1 - 1e-15))[:, None])
    met = torch.searchsorted(ends, points, right=True).clamp_max_(sums.shape[1] - 1)
    tail_rows, turn = (turns < draws[:, None]).nonzero(as_tuple=True)
    met, points = met[tail_rows, turn], points[tail_rows, turn]
    tail_ids = _walk(
        some, tail_rows, met, points - (ends[tail_rows, met] - sums[tail_rows, met]), limits, finer
    )
    return _ragged(
        np.concatenate([head_rows.cpu().numpy(), tail_rows.cpu().numpy()]),
        np.concatenate([(blocks[places] * BLOCK + columns).cpu().numpy(), tail_ids.cpu().numpy()]),
        np.concatenate(
            [
                inside[places, columns].log().cpu().numpy(),
                step.log().to(probs.dtype)[tail_rows].cpu().numpy(),
            ]
        ),
        heads=heads.cpu().numpy(),
        entropies=some.entropies().cpu().numpy(),
    )


def _walk(
    some: Distributions, rows: Tensor, blocks: Tensor, distances: Tensor, limits: Tensor, most: int
) -> Tensor:
    """The tail token that lies so far into a block, [N].

    Rounding may lead to the end of the block, or once more than `most` times to a token as large as
    so many steps: then the tail token before it, or another, is taken.
    """
    inside = some.inside(rows, blocks)
    tail = inside.double().masked_fill_(inside >= limits[rows, None], 0.0)
    ends = tail.cumsum(dim=-1)
    # Where the walk has come to the end, it stays within the last token that has any mass.
    distances = torch.minimum(distances.clamp_min(0.0), ends[:, -1] * (1 - 1e-12))
    found = torch.searchsorted(ends, distances[:, None], right=True).clamp_max_(BLOCK - 1)
    chosen = blocks * BLOCK + found[:, 0]
    too_often = ((chosen[most:] == chosen[:-most]) & (rows[most:] == rows[:-most])).nonzero()[
        :, 0
    ] + most
    for place in too_often.tolist():
        row = some.probs[rows[place]]
        free = (row > 0) & (row < limits[rows[place]])
        free[chosen[rows == rows[place]]] = False
        chosen[place] = int((row * free).argmax())
    return chosen


def _limit_of_budget(some: Distributions, budget: int) -> Tensor:
    """The probability from which a token is head if a position keeps `budget` entries.

    Sorted, the head is the shortest for which the next token is smaller than the step that is then
    left.
    """
    best = some.top(budget)[0].double()
    before = best.cumsum(dim=-1) - best
    left = torch.arange(budget, 0, -1, dtype=torch.float64, device=best.device)
    fits = best < (1 - before) / left  # token h is smaller than the step with h tokens in the head
    fits[:, -1] = True
    first = fits.to(torch.int8).argmax(dim=-1, keepdim=True)
    # Heads are the tokens before it; the limit lies between the last of them and it.
    limits = torch.where(first[:, 0] > 0, best.gather(-1, (first - 1).clamp_min(0))[:, 0], 2.0).to(
        some.probs.dtype
    )
    # Fewer tokens than the budget may have any probability; those that have none are no head.
    return limits.clamp_min(torch.finfo(limits.dtype).tiny)


def _ragged(
    rows: NDArray[np.int64],
    ids: NDArray[np.int64],
    logprobs: NDArray[np.float32],
    *,
    heads: NDArray[np.int64],
    entropies: NDArray[np.float32],
) -> SparseTargets:
    """Head and tail of every position, one behind the other, from all heads followed by all
    tails.
    """
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=len(heads))
    values = logprobs[order]
    starts = np.cumsum(counts) - counts
    for row in np.flatnonzero(
        counts == heads
    ):  # all mass is head: what rounding left over is the most likely token's
        entries = slice(int(starts[row]), int(starts[row] + counts[row]))
        masses = np.exp(values[entries].astype(np.float64))
        masses[masses.argmax()] += 1 - masses.sum()
        values[entries] = np.log(masses)
    return SparseTargets(
        counts.astype(np.uint16),
        heads.astype(np.uint16),
        ids[order].astype(np.int32),
        values,
        entropies,
    )
