"""Distributions of a few positions at a time, with the vocabulary passed over as few times as can
be.

In: logits [P, V]. Out: for as many positions as the cache holds, their probabilities, and what is
cheap to know beside them: sums over blocks of ids, logarithms of the normalising sums, entropies,
the most likely ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 128
"""Ids whose probabilities are summed together."""
ELEMENTS_AT_ONCE = 2**20
"""4 MB of probabilities, which stay in the processor's cache from pass to pass."""


@dataclass(frozen=True, eq=False)
class Distributions:
    """P distributions over V ids."""

    logits: Tensor
    """float32 [P, V]; log-probabilities will do."""
    probs: Tensor
    """[P, V]."""
    sums: Tensor
    """Mass of each block, float64 [P, V / 128 rounded up]."""
    normalisers: Tensor
    """Logarithm of the sum of exponentiated logits, [P]."""

    @classmethod
    def of(cls, logits: Tensor) -> Distributions:
        """From logits; a token that is ruled out has minus infinity."""
        probs = torch.softmax(logits, dim=-1)
        sums = _block_sums(probs)
        # From one token of the heaviest block, without another pass of exponentials.
        rows, heaviest = torch.arange(len(sums), device=sums.device), sums.argmax(dim=-1)
        best = _inside(probs, rows, heaviest).max(dim=-1)
        normalisers = logits[rows, heaviest * BLOCK + best.indices] - best.values.log()
        return cls(logits, probs, sums, normalisers)

    def entropies(self) -> Tensor:
        """In nats, [P]."""
        expected = (self.probs * self.logits).sum(dim=-1)
        broken = expected.isnan().nonzero()[:, 0]  # 0 times minus infinity
        if len(broken):
            expected[broken] = (self.probs[broken] * self.logits[broken].clamp_min(-1e30)).sum(
                dim=-1
            )
        return (self.normalisers - expected).clamp_min_(0.0)

    def inside(self, rows: Tensor, blocks: Tensor) -> Tensor:
        """Probabilities in some blocks, [N, 128]; beyond the vocabulary 0."""
        return _inside(self.probs, rows, blocks)

    def top(self, k: int) -> tuple[Tensor, Tensor]:
        """The k largest of each row and their ids, the largest first: they lie in the k blocks of
        largest maximum.
        """
        probs, whole = self.probs, self.probs.shape[1] // BLOCK
        if 2 * k >= whole or whole * BLOCK < probs.shape[1]:
            best = probs.topk(k, dim=-1)
            return best.values, best.indices
        largest = (
            probs.unflatten(1, (whole, BLOCK))
            .amax(dim=-1)
            .topk(k, dim=-1)
            .indices.sort(dim=-1)
            .values
        )
        ids = (largest[:, :, None] * BLOCK + torch.arange(BLOCK, device=probs.device)).flatten(1)
        best = probs.gather(-1, ids).topk(k, dim=-1)
        return best.values, ids.gather(-1, best.indices)


def few_at_a_time(logits: Tensor) -> Iterator[tuple[slice, Distributions]]:
    """Distributions of all positions, as many together as the cache holds; an accelerator takes all
    at once.
    """
    rows = max(1, len(logits) if logits.is_cuda else ELEMENTS_AT_ONCE // logits.shape[1])
    for start in range(0, len(logits), rows):
        here = slice(start, start + rows)
        yield here, Distributions.of(logits[here])


def entropies(logits: Tensor) -> Tensor:
    """Entropy of every distribution in nats, float32 [P], of logits [P, V]; log-probabilities will
    do.
    """
    found = [some.entropies() for _, some in few_at_a_time(logits)]
    return torch.cat(found) if found else logits.new_zeros(0)


def _block_sums(probs: Tensor) -> Tensor:
    whole = probs.shape[1] // BLOCK
    sums = probs[:, : whole * BLOCK].unflatten(1, (whole, BLOCK)).sum(dim=-1)
    if whole * BLOCK < probs.shape[1]:
        sums = torch.cat([sums, probs[:, whole * BLOCK :].sum(dim=-1, keepdim=True)], dim=-1)
    return sums.double()


def _inside(probs: Tensor, rows: Tensor, blocks: Tensor) -> Tensor:
    if probs.shape[1] % BLOCK == 0:  # whole blocks are taken many times as fast as single elements
        return probs.unflatten(1, (-1, BLOCK))[rows, blocks]
    ids = blocks[:, None] * BLOCK + torch.arange(BLOCK, device=probs.device)
    last = probs.shape[1] - 1
    return probs[rows[:, None], ids.clamp_max(last)].masked_fill_(ids > last, 0.0)
