"""Which of the tokens met by a fine walk are kept: as many at each position, and each token as
often as it should be.

In: a document's draws with `FINER` times the tail entries that the store takes. Out: the draws that
are stored.

A gradient sums over positions, and what drawing adds to it is mostly that a token came up once too
often, or too rarely, over the whole text. So the tail is walked along in smaller steps first, and
then halved until few enough entries are left: every entry has two partners, one at its own position
and one that is the same token at the next position that met it. Partners of both sorts in turn make
rings of even length, and a coin for each ring says which half of it stays. Of two partners exactly
one stays. So a position keeps exactly half of its entries, a token half of its occurrences, or one
more or less where they are odd, and every entry stays with probability 1/2: what was unbiased stays
so.

Source: ours; the rings are those of rounding a matrix so that sums of rows and columns hold (Gandhi
et al. 2006, Journal of the ACM 53). docs/targets.md says what it is worth.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tutelage.targets import SparseTargets

FINER = 8
"""Tail entries met by the walk for each one kept; a power of two. Over a batch of 4,096 tokens
(threshold 0.05, the demo's pruned student, mean of three draws) the gradient is 5.94 degrees from
the dense one with 4 and 5.70 with 8."""


def balance(drawn: SparseTargets, example_id: bytes, *, seed: int) -> SparseTargets:
    """Thin the tails of a document to one entry in `FINER`.

    Args:
        drawn: From `draw_sampled(..., finer=FINER)`, all positions of the document.
        example_id: The document's content id.
        seed: Of the store.

    Returns:
        The same heads; tail entries that stand for `FINER` times the mass, no token twice at a
        position. It depends on seed, document and draws alone.
    """
    counts, heads = drawn.counts.astype(np.int64), drawn.heads.astype(np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    tail = np.flatnonzero(
        np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners] >= heads[owners]
    )
    key = blake2b(
        example_id, digest_size=16, key=seed.to_bytes(16, "little", signed=True), person=b"balance"
    ).digest()
    chance = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    kept = tail
    while len(kept) * FINER > len(tail):
        kept = kept[_half(owners[kept], drawn.ids[kept], coins=chance.random(len(kept)) < 0.5)]
    stays = np.ones(len(owners), bool)
    stays[tail] = False
    stays[kept] = True
    logprobs = drawn.logprobs.copy()
    logprobs[kept] += np.float32(np.log(FINER))
    left = np.bincount(owners[stays], minlength=len(counts)).astype(np.uint16)
    return SparseTargets(left, drawn.heads, drawn.ids[stays], logprobs[stays], drawn.entropies)


def _half(
    positions: NDArray[np.int64], tokens: NDArray[np.int32], *, coins: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which half of the entries stays.

    Args:
        positions: `[N]`, each an even number of times.
        tokens: `[N]`.
        coins: `[N]`; a ring goes by that of its first entry.

    Returns:
        `[N]`.
    """
    # At a position a token that was met twice is its own partner, so that it is not kept twice in
    # the end.
    places, ids = positions.astype(np.int64), tokens.astype(np.int64)
    by_position = np.argsort(places << 32 | ids, kind="stable")
    beside = np.full(len(positions), -1)
    _join_pairs(beside, by_position, within=(positions, tokens))
    _join_pairs(beside, by_position, within=(positions,))
    by_token = np.argsort(ids << 32 | places, kind="stable")
    along = np.full(len(positions), -1)
    _join_pairs(along, by_token, within=(tokens,))
    _join_pairs(along, by_token, within=())
    mine = _first_of_orbit(along[beside])  # two steps along the ring: every other entry of it
    other = mine[beside]
    return (mine < other) == coins[np.minimum(mine, other)]


def _join_pairs(
    partner: NDArray[np.int64], order: NDArray[np.int64], *, within: tuple[NDArray[np.integer], ...]
) -> None:
    """Make partners of the first and second, third and fourth, ... of those without one; in place.

    Args:
        partner: `[N]`, -1 where there is none yet.
        order: `[N]`, in which entries follow each other.
        within: Only entries that are equal in all of these become partners; in a group of odd
            number the last is left.
    """
    free = order[partner[order] < 0]
    begins = np.zeros(len(free), bool)
    begins[:1] = True
    for group in within:
        begins[1:] |= group[free[1:]] != group[free[:-1]]
    starts = np.flatnonzero(begins)
    place = np.arange(len(free)) - starts[np.cumsum(begins) - 1]
    second = np.flatnonzero(place % 2 == 1)
    partner[free[second]], partner[free[second - 1]] = free[second - 1], free[second]


def _first_of_orbit(step: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest index that each index comes to when it follows a permutation, `[N]`."""
    first = np.arange(len(step))
    for _ in range(len(step).bit_length()):
        first = np.minimum(first, first[step])
        step = step[step]
    return first
