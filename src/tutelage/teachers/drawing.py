"""Which tokens of a distribution are written down: an exact head and a fair draw of the tail, or the k best.

In: log-probabilities of a chunk of positions. Out: ragged arrays as the store takes them. P positions, V vocabulary.

Systematic sampling walks along the cumulative mass of the tail with one step and one random offset: a token of mass p
is met with probability p / step, and then stands for the mass of a step. So every probability is right on average, the
masses of a position sum to 1 in every single draw, and no token is met twice, since no tail token is larger than a
step.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.targets import SparseTargets

MOST_ENTRIES = 256
"""Entries that a position keeps at most; a very flat one gets larger steps instead of more."""
NEGLIGIBLE_MASS = 1e-7
"""A tail of less mass, which float32 cannot tell from rounding, is added to the most likely token."""


def uniforms(seed: int, example_id: bytes, positions: int) -> NDArray[np.float64]:
    """One number in [0, 1) for every position of a document, the same whatever the batch, the order or the machine.

    Args:
        seed: Of the store.
        example_id: The document's content id.
        positions: P.

    Returns:
        float64 [P], from a Philox generator keyed by both.
    """
    key = blake2b(seed.to_bytes(8, "little", signed=True) + example_id, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(positions)


def draw_sampled(
    logprobs: Tensor, offsets: NDArray[np.float64], *, threshold: float | None = None, budget: int | None = None
) -> SparseTargets:
    """Keep likely tokens exactly and draw the others, without bias.

    Args:
        logprobs: Log-probabilities of the tokens that the tokenizer makes, float32 [P, V].
        offsets: One number in [0, 1) a position, from `uniforms`.
        threshold: Tokens at least so probable are head; the tail is walked along in steps of about so much mass.
        budget: In place of a threshold: entries of every position; head and step follow from it.

    Returns:
        The entries of each position: its head by id, then its tail by id.

    Raises:
        ValueError: Neither or both of threshold and budget are given.

    Source: the head and step that make the variance of an unbiased sparse vector smallest, Barnes et al. 2024
        (arXiv:2402.14925); systematic sampling, Madow 1949 (Annals of Mathematical Statistics 20).
    """
    if (threshold is None) == (budget is None):
        raise ValueError(f"threshold={threshold} and budget={budget} given; expected one of them")
    probs = logprobs.exp()
    if threshold is not None:
        limits = torch.full_like(probs[:, 0], threshold)
    else:
        assert budget is not None
        limits = _limit_of_budget(probs, min(budget, probs.shape[1]))
    is_head = probs >= limits[:, None]
    heads = is_head.sum(dim=-1)
    ends = probs.masked_fill(is_head, 0.0).cumsum(dim=-1, dtype=torch.float64)
    mass = ends[:, -1]
    draws = mass / threshold if threshold is not None else (budget or 0) - heads.double()
    draws = torch.minimum(draws.floor(), (MOST_ENTRIES - heads).double()).clamp_min(1).long()
    draws = torch.where(mass > NEGLIGIBLE_MASS, draws, 0)
    step = mass / draws.clamp_min(1)
    most = int(draws.max()) if len(draws) else 0
    turns = torch.arange(most, dtype=torch.float64, device=probs.device)
    points = (torch.from_numpy(offsets).to(probs.device)[:, None] + turns) * step[:, None]
    tails = torch.searchsorted(ends, points.clamp_max(mass[:, None] * (1 - 1e-15)), right=True)
    tails = tails.clamp_max_(probs.shape[1] - 1)
    return _ragged(logprobs, is_head, tails, turns < draws[:, None], step)


def keep_top_k(logprobs: Tensor, k: int) -> SparseTargets:
    """Keep the k most likely tokens; the mass that is lacking to 1 is the tail's.

    Args:
        logprobs: Log-probabilities, float32 [P, V].
        k: How many; all of them where V is smaller.

    Returns:
        k entries a position, most likely first.
    """
    best = logprobs.topk(min(k, logprobs.shape[1]), dim=-1)
    counts = np.full(len(logprobs), best.indices.shape[1], np.uint16)
    return SparseTargets(
        counts,
        counts.copy(),
        best.indices.to(torch.int32).flatten().cpu().numpy(),
        best.values.flatten().cpu().numpy(),
        entropies(logprobs).cpu().numpy(),
    )


def entropies(logprobs: Tensor) -> Tensor:
    """Entropy of every distribution in nats, float32 [P]."""
    finite = logprobs.clamp_min(-1e4)
    return -torch.einsum("pv,pv->p", finite.exp(), finite).clamp_max_(0.0)


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
        "counts": np.uint16, "heads": np.uint16, "ids": np.int32, "logprobs": np.float32, "entropies": np.float32
    }  # fmt: skip
    return SparseTargets(
        *(
            np.concatenate([np.zeros(0, dtype), *(getattr(part, name) for part in parts)]).astype(dtype)
            for name, dtype in empty.items()
        )
    )


def _limit_of_budget(probs: Tensor, budget: int) -> Tensor:
    """The probability from which a token is head if a position keeps `budget` entries.

    Sorted, the head is the shortest for which the next token is smaller than the step that is then left.
    """
    best = probs.topk(budget, dim=-1).values.double()
    before = best.cumsum(dim=-1) - best
    left = torch.arange(budget, 0, -1, dtype=torch.float64, device=probs.device)
    fits = best < (1 - before) / left  # token h is smaller than the step with h tokens in the head
    fits[:, -1] = True
    first = fits.to(torch.int8).argmax(dim=-1, keepdim=True)
    # Heads are the tokens before it; the limit lies between the last of them and it.
    return torch.where(first[:, 0] > 0, best.gather(-1, (first - 1).clamp_min(0))[:, 0], 2.0).to(probs.dtype)


def _ragged(logprobs: Tensor, is_head: Tensor, tails: Tensor, is_drawn: Tensor, step: Tensor) -> SparseTargets:
    """Head and tail of every position, one behind the other."""
    head_rows, head_ids = (values.cpu().numpy() for values in is_head.nonzero(as_tuple=True))
    tail_rows, turns = (values.cpu() for values in is_drawn.nonzero(as_tuple=True))
    tail_ids = tails.cpu()[tail_rows, turns].numpy()
    head_values = logprobs[is_head].cpu().numpy()
    tail_values = step.log().to(torch.float32).cpu()[tail_rows].numpy()
    rows = np.concatenate([head_rows, tail_rows.numpy()])
    order = np.argsort(rows, kind="stable")
    size = len(logprobs)
    heads = np.bincount(head_rows, minlength=size)
    values = np.concatenate([head_values, tail_values])[order]
    found = SparseTargets(
        np.bincount(rows, minlength=size).astype(np.uint16),
        heads.astype(np.uint16),
        np.concatenate([head_ids, tail_ids])[order].astype(np.int32),
        values.astype(np.float32),
        entropies(logprobs).cpu().numpy(),
    )
    without = np.flatnonzero(found.counts == heads)
    if len(without):  # all the mass is head: what rounding left over goes to the most likely token
        starts = np.cumsum(found.counts, dtype=np.int64) - found.counts
        for row in without:
            entries = slice(int(starts[row]), int(starts[row] + found.counts[row]))
            masses = np.exp(found.logprobs[entries].astype(np.float64))
            best = int(masses.argmax())
            masses[best] += 1 - masses.sum()
            found.logprobs[entries] = np.log(masses)
    return found
