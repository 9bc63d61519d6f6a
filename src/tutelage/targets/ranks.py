"""Token ids in few bytes: numbered by how often a part uses them, then an exponent for zstd and
bits as they are.

1. A part counts its ids. Those seen four times or more come first, in classes of doubling
   frequency; within a class, and after the last, ids ascend. The place of an id in this order is
   its rank; frequent ids have small ones. A large part has more orders, one for each context (see
   `targets.contexts`).
2. rank + 16 is written like a small floating-point number: a bucket (4 bits of mantissa, the rest
   exponent), and `bucket >> 4` bits of remainder. A bucket fits a byte for vocabularies up to
   1,048,560 ids. Buckets have a skewed distribution that zstd makes use of; the remainders have
   none, and are packed as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt

_FEWEST_USES = 4
_ORDER_SHIFT = 21
"""Ids and ranks are below 2^21."""


class RankTable:
    """Orders of the ids of one part: one for all, or one for each context (see
    `targets.contexts`).
    """

    def __init__(self, frequent: NDArray[np.int32], sizes: NDArray[np.int64] | None = None) -> None:
        """Take the ids that come first.

        Args:
            frequent: `[F]`, those of the first order, then those of the next; all others follow in
                each, ascending.
            sizes: `[O]`, how many each order has; None for one order.

        Raises:
            TargetsCorrupt: An id comes twice in an order.
        """
        self.frequent = frequent
        self.sizes = np.array([len(frequent)]) if sizes is None else sizes
        self._starts = np.cumsum(self.sizes) - self.sizes
        orders = np.repeat(np.arange(len(self.sizes)), self.sizes)
        keys = (orders << _ORDER_SHIFT) | frequent
        places = np.argsort(keys, kind="stable")
        self._sorted, self._ranks = keys[places], places - self._starts[orders]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            raise TargetsCorrupt("has an id twice in one order of ids")
        # In each order, the k-th id that is not frequent is k plus the number of frequent ids
        # before it.
        self._rare_before = self._sorted - (np.arange(len(frequent)) - self._starts[orders])

    @classmethod
    def counting(cls, ids: NDArray[np.int32]) -> RankTable:
        """The table of a part with these ids, the same in whatever order they come."""
        return cls(most_used(ids, fewest=_FEWEST_USES))

    @classmethod
    def from_steps(
        cls, steps: NDArray[np.uint32], sizes: NDArray[np.int64] | None = None
    ) -> RankTable:
        """The table that `steps` was written for."""
        return cls(np.cumsum(steps, dtype=np.uint32).view(np.int32), sizes)

    def steps(self) -> NDArray[np.uint32]:
        """Differences between neighbours, modulo 2^32: small numbers, for most of the table
        ascends.
        """
        return np.diff(self.frequent.view(np.uint32), prepend=np.uint32(0))

    def ranks(
        self, ids: NDArray[np.integer], orders: NDArray[np.int64] | int = 0
    ) -> NDArray[np.int64]:
        """The rank of each id, in the order that `orders` says."""
        wide, starts = ids.astype(np.int64), self._starts[orders]
        if not len(self.frequent):
            return wide
        keys = (np.asarray(orders) << _ORDER_SHIFT) | wide
        places = np.searchsorted(self._sorted, keys)
        inside = np.minimum(places, len(self._sorted) - 1)
        rare = self.sizes[orders] + wide - (places - starts)
        return np.where(self._sorted[inside] == keys, self._ranks[inside], rare)

    def ids(
        self, ranks: NDArray[np.int64], orders: NDArray[np.int64] | int = 0
    ) -> NDArray[np.int32]:
        """The id of each rank, in the order that `orders` says."""
        if not len(self.frequent):
            return ranks.astype(np.int32)
        orders = np.broadcast_to(orders, ranks.shape)
        starts, rare = self._starts[orders], ranks - self.sizes[orders]
        ids = self.frequent[np.minimum(starts + ranks, len(self.frequent) - 1)]
        beyond = np.flatnonzero(rare >= 0)
        rare, orders = rare[beyond], orders[beyond].astype(np.int64)
        before = (
            np.searchsorted(self._rare_before, (orders << _ORDER_SHIFT) | rare, side="right")
            - starts[beyond]
        )
        ids[beyond] = rare + before
        return ids


def most_used(ids: NDArray[np.integer], *, fewest: int) -> NDArray[np.int32]:
    """Ids used `fewest` times or more, in classes of doubling frequency, the frequent first;
    ascending in a class.
    """
    uses = np.bincount(ids)
    classes = np.frexp(uses)[1]  # 1 + floor(log2)
    frequent = np.flatnonzero(uses >= fewest)
    return frequent[np.argsort(-classes[frequent], kind="stable")].astype(np.int32)


def split_ranks(ranks: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Bucket and remainder of each rank."""
    shifted = ranks + 16
    widths = np.frexp(shifted)[1].astype(np.int64) - 5
    return (16 * widths + (shifted >> widths) - 16).astype(np.uint8), shifted & ((1 << widths) - 1)


def join_ranks(buckets: NDArray[np.uint8], remainders: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ranks that `split_ranks` split."""
    wide = buckets.astype(np.int64)
    return (((wide & 15) + 16) << (wide >> 4)) - 16 + remainders


def pack_bits(
    remainders: NDArray[np.int64], buckets: NDArray[np.uint8], *, entries: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Remainders one behind the other, most significant bit first; every document starts at a byte.

    Args:
        remainders: `[N]`, of all documents.
        buckets: `[N]`, which say how many bits each has.
        entries: `[D]`, how many of them each document has.

    Returns:
        The bytes, and how many each document has, `[D]`.
    """
    widths = buckets.astype(np.int64) >> 4
    offsets, sizes = _bit_offsets(widths, entries)
    bits = np.zeros(8 * int(sizes.sum()), np.uint8)
    for place in range(int(widths.max(initial=0))):
        here = np.flatnonzero(widths > place)
        bits[offsets[here] + widths[here] - 1 - place] = (remainders[here] >> place) & 1
    return np.packbits(bits), sizes


def read_bits(
    content: NDArray[np.uint8],
    buckets: NDArray[np.uint8],
    *,
    entries: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The remainders that `pack_bits` packed, `[N]`.

    Raises:
        TargetsCorrupt: The bytes of a document are not as many as its buckets ask for.
    """
    widths = buckets.astype(np.int64) >> 4
    offsets, expected = _bit_offsets(widths, entries)
    if not np.array_equal(sizes, expected):
        raise TargetsCorrupt("has fewer or more bits than its buckets ask for")
    # 15 bits that start anywhere in a byte lie in three bytes.
    padded = np.concatenate([content, np.zeros(3, np.uint8)]).astype(np.int64)
    words = (padded[:-2] << 16) | (padded[1:-1] << 8) | padded[2:]
    return (words[offsets >> 3] >> (24 - (offsets & 7) - widths)) & ((1 << widths) - 1)


def _bit_offsets(
    widths: NDArray[np.int64], entries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the bits of each entry begin, and the bytes of each document."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])
    ends = np.cumsum(entries)
    firsts = before[ends - entries]
    sizes = (before[ends] - firsts + 7) >> 3
    starts = 8 * (np.cumsum(sizes) - sizes)
    return before[:-1] + np.repeat(starts - firsts, entries), sizes
