"""A part of kind `sampled` or `top_k` in memory: the columns as they lie on disk, decoded document
by document.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt
from tutelage.targets.contexts import Contexts, Entries
from tutelage.targets.kinds import MOST_COUNTED
from tutelage.targets.ranks import RankTable, join_ranks, read_bits
from tutelage.targets.rounding import (
    ENTROPY_CODES,
    Packed,
    each_alone,
    sorted_within,
    unpack_targets,
)
from tutelage.targets.rows import ContentIds, SparseTargets, read_id_column
from tutelage.targets.sparse_rules import SparseRules

CONTEXT_COLUMNS = {
    "contexts": pa.uint8(),
    "context_sizes": pa.uint32(),
    "context_steps": pa.uint32(),
}
"""Empty in a part that is too small for contexts."""
MOST_ORDERS = 257
"""A context is one byte, and there is an order for first head ids."""
MOST_CONTEXT_STEPS = 2**22
"""Every one stands for eight uses of an id in a part, which has fewer entries than eight times
this."""
_ALIGNED = 64
"""Bytes to whose multiples numbers of any size fit."""
_BYTES_OF_RANK = 40
"""Memory of an id in a table of ranks."""


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """A column of lists: all their elements, and where each row begins."""

    elements: NDArray[Any]
    """Those of all rows."""
    offsets: NDArray[np.int64]
    """[D + 1]."""

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Lists:
        """A column of lists of numbers, or of bytes.

        Raises:
            TargetsCorrupt: Something in it is null.
        """
        rows = column.combine_chunks()
        if rows.null_count:
            raise TargetsCorrupt("has null values; expected none")
        if pa.types.is_binary(rows.type):
            _, offsets, content = rows.buffers()
            places = (
                np.frombuffer(offsets, "<i4")[rows.offset : rows.offset + len(rows) + 1]
                if offsets
                else np.zeros(1)
            )
            elements = np.frombuffer(content, np.uint8) if content else np.zeros(0, np.uint8)
            return cls(elements, places.astype(np.int64))
        if rows.values.null_count:
            raise TargetsCorrupt("has null values; expected none")
        return cls(_narrowed(rows.values.to_numpy()), rows.offsets.to_numpy().astype(np.int64))

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.elements.nbytes + self.offsets.nbytes

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How long each of these rows is."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The elements of these rows, one after the other."""
        pieces = [self.elements[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return np.concatenate(pieces) if pieces else self.elements[:0]


class SparsePart:
    """Encoded documents of one part; memory is about three times what they take on disk, unless
    they are moved to a file of their own.
    """

    def __init__(self, table: pa.Table, rules: SparseRules, path: str) -> None:
        """Take the columns of a part whose schema has been checked.

        Raises:
            TargetsCorrupt: Something is null, positions are counted differently in two columns, or
                tables of ids contradict themselves.
        """
        self.ids: ContentIds = read_id_column(table["example_id"])
        self._rules, self._path = rules, path
        self._columns = {
            name: Lists.of(table[name]) for name in table.schema.names if name != "example_id"
        }
        steps = self._columns.pop("rank_steps").elements
        if len(steps) > rules.vocabulary_size:
            raise TargetsCorrupt("has more rank_steps than the vocabulary has ids")
        self._ranks = RankTable.from_steps(steps.astype(np.uint32))
        self._refuse_unknown(self._ranks.frequent)
        self._contexts = self._read_contexts()
        heads = self._columns["heads"]
        self.positions = int(heads.offsets[-1] - heads.offsets[0])
        for name in ("entropies", *(["tail_surplus"] if rules.closed else [])):
            if not np.array_equal(np.diff(heads.offsets), np.diff(self._columns[name].offsets)):
                raise TargetsCorrupt(f"has other numbers of positions in {name} than in heads")
        if self._columns["entropies"].elements.max(initial=0) > ENTROPY_CODES:
            raise TargetsCorrupt("has entropies beyond the largest code")
        counted = ("heads", "head_buckets", *(["tail_steps"] if rules.closed else []))
        self.elements = sum(
            (np.diff(self._columns[name].offsets) for name in counted), np.zeros(1, np.int64)
        )
        tables = [self._ranks, *([] if self._contexts is None else [self._contexts.table])]
        self.nbytes = sum(column.nbytes for column in self._columns.values())
        self.nbytes += self.ids.nbytes + _BYTES_OF_RANK * sum(len(one.frequent) for one in tables)

    def move_to(self, file: BinaryIO) -> None:
        """Move the columns from memory to the end of a file; nothing can be read until `found_in`.

        Args:
            file: Open for writing.

        Raises:
            OSError: There is no room for them; they stay where they were.
        """
        places = {}
        for name, column in self._columns.items():
            start = _aligned(file)
            file.write(np.ascontiguousarray(column.elements).data)
            places[name] = start, column.elements.dtype, len(column.elements)
        file.flush()
        self._places = places
        nothing = np.zeros(0, np.uint8)
        self._columns = {
            name: Lists(nothing, column.offsets) for name, column in self._columns.items()
        }

    def found_in(self, content: memoryview) -> None:
        """Read the columns from now on in what was written by `move_to`.

        Args:
            content: All bytes of the file.
        """
        for name, (start, kind, count) in self._places.items():
            if count:
                elements = np.frombuffer(content, kind, count, start)
                self._columns[name] = Lists(elements, self._columns[name].offsets)

    def decode(self, rows: NDArray[np.int64]) -> list[SparseTargets]:
        """The targets of these documents.

        Raises:
            TargetsCorrupt: The columns contradict each other.
        """
        return unpack_targets(self._packed(rows), rules=self._rules)

    def packed(self, rows: NDArray[np.int64]) -> list[Packed]:
        """These documents as they were given to the encoder, for another part to hold."""
        return each_alone(self._packed(rows))

    def _packed(self, rows: NDArray[np.int64]) -> Packed:
        try:
            return self._read(rows)
        except TargetsCorrupt as error:
            raise TargetsCorrupt(f"{self._path} {error}") from error
        except (IndexError, ValueError, OverflowError) as error:
            raise TargetsCorrupt(
                f"{self._path} has columns that contradict each other ({error})"
            ) from error

    def _read(self, rows: NDArray[np.int64]) -> Packed:
        heads = self._take("heads", rows).astype(np.int64)
        positions = self._columns["heads"].lengths(rows)
        codes = self._codes(rows, heads, positions)
        tails = self._rules.expected_tails(codes, heads)
        ranks = self._ranks_of("head", self._take("head_buckets", rows), rows)
        if self._rules.closed:
            tails = tails + self._take("tail_surplus", rows)
            buckets = self._tail_buckets(rows, tails, positions)
            ranks = np.concatenate([ranks, self._ranks_of("tail", buckets, rows)])
        if (heads + tails < 1).any() or (heads + tails > MOST_COUNTED).any():
            raise TargetsCorrupt(
                f"has positions without entries, or with more than {MOST_COUNTED:,}"
            )
        if self._contexts is not None:
            ranks = self._contexts.decode(Entries(heads, tails, ranks))
        ids = self._ranks.ids(ranks)
        self._refuse_unknown(ids)
        head_ids, tail_ids = np.split(ids, [len(codes)])
        return Packed(
            positions=positions,
            heads=heads.astype(np.uint16),
            tails=tails.astype(np.uint16),
            entropies=self._take("entropies", rows),
            codes=codes,
            head_ids=head_ids,
            tail_ids=sorted_within(tail_ids, tails),
        )

    def _read_contexts(self) -> Contexts | None:
        if "contexts" not in self._columns:
            return None
        of_first, sizes, steps = (self._columns.pop(name).elements for name in CONTEXT_COLUMNS)
        sizes = sizes.astype(np.int64)
        if len(sizes) > MOST_ORDERS or len(steps) > MOST_CONTEXT_STEPS:
            raise TargetsCorrupt(f"has {len(sizes):,} contexts of {len(steps):,} context_steps")
        if sizes.sum() != len(steps):
            raise TargetsCorrupt("has other numbers of context_steps than context_sizes says")
        if not len(sizes) and not len(of_first):
            return None
        if len(of_first) != len(self._ranks.frequent) + 1:
            raise TargetsCorrupt("has other numbers of contexts than rank_steps says")
        table = RankTable.from_steps(steps.astype(np.uint32), sizes)
        self._refuse_unknown(table.frequent)
        return Contexts(of_first.astype(np.uint8), table)

    def _refuse_unknown(self, ids: NDArray[np.int32]) -> None:
        if len(ids) and not 0 <= ids.min() <= ids.max() < self._rules.vocabulary_size:
            raise TargetsCorrupt(
                f"has ids that a vocabulary of {self._rules.vocabulary_size:,} does not have"
            )

    def _codes(
        self, rows: NDArray[np.int64], heads: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> NDArray[np.unsignedinteger]:
        entries, begun = _sums(heads, positions), _sums((heads > 0).astype(np.int64), positions)
        expected = {"first_codes": begun, "next_codes": entries - begun, "head_buckets": entries}
        if not all(
            np.array_equal(self._columns[name].lengths(rows), sizes)
            for name, sizes in expected.items()
        ):
            raise TargetsCorrupt("has other numbers of head entries than heads says")
        zigzag = self._take("next_codes", rows).astype(np.int64)
        firsts = np.zeros(len(zigzag) + int(begun.sum()), np.bool_)
        firsts[(np.cumsum(heads) - heads)[heads > 0]] = True
        steps = np.empty(len(firsts), np.int64)
        steps[firsts], steps[~firsts] = (
            self._take("first_codes", rows),
            (zigzag >> 1) ^ -(zigzag & 1),
        )
        codes = _climb(steps, heads)
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(self._rules.grid.shares):
            raise TargetsCorrupt("has codes that lead beyond the grid")
        return codes.astype(self._rules.grid.dtype)

    def _tail_buckets(
        self, rows: NDArray[np.int64], tails: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        if (tails < 0).any() or not np.array_equal(
            _sums(tails, positions), self._columns["tail_steps"].lengths(rows)
        ):
            raise TargetsCorrupt(
                "has other numbers of tail entries than heads and tail_surplus say"
            )
        buckets = _climb(self._take("tail_steps", rows), tails)
        if buckets.max(initial=0) > 255:
            raise TargetsCorrupt("has tail_steps that lead beyond the last bucket")
        return buckets.astype(np.uint8)

    def _ranks_of(
        self, side: str, buckets: NDArray[np.uint8], rows: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        entries = self._columns["head_buckets" if side == "head" else "tail_steps"].lengths(rows)
        bits = self._columns[f"{side}_bits"]
        return join_ranks(
            buckets, read_bits(bits.take(rows), buckets, entries=entries, sizes=bits.lengths(rows))
        )

    def _take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        return self._columns[name].take(rows)


def _aligned(file: BinaryIO) -> int:
    """Go to the end of a file, or a little beyond it, where numbers of any size may begin."""
    end = file.seek(0, os.SEEK_END)
    return file.seek(-(-end // _ALIGNED) * _ALIGNED)


def _narrowed(numbers: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers in a byte each where a byte holds them all, as in most columns."""
    if numbers.dtype.kind not in "ui" or not len(numbers):
        return numbers
    byte = np.dtype(f"{numbers.dtype.kind}1")
    fits = np.iinfo(byte).min <= numbers.min() and numbers.max() <= np.iinfo(byte).max
    return numbers.astype(byte) if fits else numbers


def _climb(steps: NDArray[np.integer], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums within each run of `counts` steps."""
    climbed = np.concatenate([np.zeros(1, np.int64), np.cumsum(steps, dtype=np.int64)])
    return climbed[1:] - np.repeat(climbed[np.cumsum(counts) - counts], counts)


def _sums(values: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of each run of `counts` values."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    ends = np.cumsum(counts)
    return before[ends] - before[ends - counts]


def gather_lists(parts: Sequence, owners: NDArray[np.int64], rows: NDArray[np.int64]) -> list:
    """Row `rows[i]` of part `owners[i]`, for every i; each part decodes its rows in one go."""
    found: list = [None] * len(rows)
    for owner in np.unique(owners):
        here = np.flatnonzero(owners == owner)
        for place, value in zip(here.tolist(), parts[owner].decode(rows[here]), strict=True):
            found[place] = value
    return found
