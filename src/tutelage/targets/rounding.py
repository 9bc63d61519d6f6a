"""From `SparseTargets` to what is written, without ids being coded yet, and back.

Probabilities become codes of `targets.sticks`, entropies one byte each; heads are put in order of
probability, tails in order of id. What rounding does is decided by the seed of the store and the
content id, so a document has the same targets whatever batch, order or part it was written in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from tutelage.targets import sticks
from tutelage.targets.rows import SparseTargets
from tutelage.targets.sparse_rules import SparseRules

ENTROPY_CODES = 127
"""The largest code of an entropy. For 49,152 ids a step is 0.1 nats at 3.5 nats and finer below;
entropies serve to report a divergence, over thousands of positions, and unbiased noise of 0.04 nats
in each does not show there."""
_LOWEST_LOGPROB = -80.0


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rounded targets of D documents, one after the other."""

    positions: NDArray[np.int64]
    """P of each document, [D]."""
    heads: NDArray[np.uint16]
    """Head entries of each position."""
    tails: NDArray[np.uint16]
    """Tail entries of each position."""
    entropies: NDArray[np.uint8]
    """Code of each position: entropy = log(V) (code / 127)^2 nats."""
    codes: NDArray[np.unsignedinteger]
    """Codes of head entries, the most probable of a position first."""
    head_ids: NDArray[np.int32]
    """Ids of head entries."""
    tail_ids: NDArray[np.int32]
    """Ids of tail entries, ascending within a position."""

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))


def concatenate(documents: Sequence[Packed]) -> Packed:
    """Documents one after the other; at least one."""
    return Packed(
        *(
            np.concatenate([getattr(one, field.name) for one in documents])
            for field in fields(Packed)
        )
    )


def each_alone(packed: Packed) -> list[Packed]:
    """Each document alone."""
    documents, position, head, tail = [], 0, 0, 0
    for count in packed.positions.tolist():
        heads, tails = (
            packed.heads[position : position + count],
            packed.tails[position : position + count],
        )
        next_head, next_tail = (
            head + int(heads.sum(dtype=np.int64)),
            tail + int(tails.sum(dtype=np.int64)),
        )
        documents.append(
            Packed(
                positions=np.array([count]),
                heads=heads,
                tails=tails,
                entropies=packed.entropies[position : position + count],
                codes=packed.codes[head:next_head],
                head_ids=packed.head_ids[head:next_head],
                tail_ids=packed.tail_ids[tail:next_tail],
            )
        )
        position, head, tail = position + count, next_head, next_tail
    return documents


def pack_targets(value: SparseTargets, *, rules: SparseRules, example_id: bytes) -> Packed:
    """Round the targets of one document, which have been checked.

    Args:
        value: Arrays in the types of `SparseTargets`.
        rules: Of its kind.
        example_id: Its content id.

    Returns:
        Arrays of its own.
    """
    counts, heads = value.counts.astype(np.int64), value.heads.astype(np.int64)
    owners, starts = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
    in_head = np.arange(len(owners)) - starts[owners] < heads[owners]
    logprobs = np.maximum(value.logprobs.astype(np.float64), _LOWEST_LOGPROB)
    tails = counts - heads

    ids, owner, logprob = value.ids[in_head], owners[in_head], logprobs[in_head]
    order = np.lexsort((ids, -logprob, owner))
    probs = np.exp(logprob[order])
    if rules.closed:
        tail_mass = np.bincount(owners[~in_head], np.exp(logprobs[~in_head]), minlength=len(counts))
    else:  # the tail is what the head lacks; 1 - exp(x) would lose a small one
        single = np.bincount(owner, logprob, minlength=len(counts))
        summed = np.bincount(owner, np.exp(logprob), minlength=len(counts))
        tail_mass = np.maximum(np.where(heads == 1, -np.expm1(single), 1 - summed), 0.0)
    rests = sticks.rests_after(probs, heads, tails=tail_mass.astype(np.float64))
    uniforms = sticks.rounding_uniforms(rules.seed, example_id, len(probs) + len(counts))
    return Packed(
        positions=np.array([len(counts)]),
        heads=heads.astype(np.uint16),
        tails=tails.astype(np.uint16),
        entropies=_encode_entropies(value.entropies, rules.entropy_bound, uniforms[len(probs) :]),
        codes=rules.grid.encode(probs, rests, uniforms=uniforms[: len(probs)]),
        head_ids=ids[order],
        tail_ids=sorted_within(value.ids[~in_head], tails),
    )


def unpack_targets(packed: Packed, *, rules: SparseRules) -> list[SparseTargets]:
    """The targets of each of any number of documents; views into arrays of this call."""
    heads, tails = packed.heads.astype(np.int64), packed.tails.astype(np.int64)
    counts = heads + tails
    starts = np.cumsum(counts) - counts
    head_logprobs, left = sticks.decode(
        packed.codes, heads, grid=rules.grid, tails=tails if rules.closed else None
    )
    head_places = np.repeat(starts - np.cumsum(heads) + heads, heads) + np.arange(
        len(packed.head_ids)
    )
    tail_places = np.repeat(starts + heads - np.cumsum(tails) + tails, tails) + np.arange(
        len(packed.tail_ids)
    )
    ids = np.empty(len(head_places) + len(tail_places), np.int32)
    logprobs = np.empty(len(ids), np.float32)
    ids[head_places], ids[tail_places] = packed.head_ids, packed.tail_ids
    logprobs[head_places] = head_logprobs
    logprobs[tail_places] = np.repeat(left - np.log(np.maximum(tails, 1)), tails)
    entropies = (rules.entropy_bound * (np.arange(256) / ENTROPY_CODES) ** 2).astype(np.float32)[
        packed.entropies
    ]
    values, position, ends = [], 0, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    short_counts = counts.astype(np.uint16)
    for count in packed.positions.tolist():
        here, entries = (
            slice(position, position + count),
            slice(ends[position], ends[position + count]),
        )
        values.append(
            SparseTargets(
                short_counts[here],
                packed.heads[here],
                ids[entries],
                logprobs[entries],
                entropies[here],
            )
        )
        position += count
    return values


def sorted_within(ids: NDArray[np.int32], counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Ids in ascending order within each position; ids are below 2^20."""
    owners = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return (np.sort((owners << 20) | ids) & (2**20 - 1)).astype(np.int32)


def _encode_entropies(
    entropies: NDArray[np.float32], bound: float, uniforms: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Code of each entropy, unbiased."""
    shares = np.clip(entropies.astype(np.float64) / bound, 0.0, 1.0)
    below = np.minimum((np.sqrt(shares) * ENTROPY_CODES).astype(np.int64), ENTROPY_CODES - 1)
    low, high = (below / ENTROPY_CODES) ** 2, ((below + 1) / ENTROPY_CODES) ** 2
    return (below + (uniforms < (shares - low) / (high - low))).astype(np.uint8)
