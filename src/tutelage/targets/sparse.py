"""Kinds `sampled` and `top_k` as the columns of a Parquet part; docs/targets.md says how to read
them without us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.errors import ShapeMismatch, TargetsCorrupt
from tutelage.targets.contexts import Contexts, Entries
from tutelage.targets.ranks import RankTable, pack_bits, split_ranks
from tutelage.targets.rounding import Packed, concatenate, pack_targets
from tutelage.targets.rows import (
    ID_FIELD,
    STATISTICS,
    ContentIds,
    SparseTargets,
    id_column,
    refuse_other_columns,
)
from tutelage.targets.sparse_part import CONTEXT_COLUMNS, SparsePart, gather_lists
from tutelage.targets.sparse_rules import SparseRules

ZSTD_LEVEL = 15
"""Splits blocks where the bytes change: 1.2 % less than 3, more than 19, and 200,000 positions a
second."""


class Sparse:
    """The encoder of `sampled` and `top_k`."""

    lazy = False
    joins = True

    def __init__(self, rules: SparseRules) -> None:
        """Know the kind and its encoding."""
        self.rules = rules
        codes = pa.from_numpy_dtype(rules.grid.dtype)
        lists = {
            "heads": pa.uint16(),
            "entropies": pa.uint8(),
            "first_codes": codes,
            "next_codes": pa.uint16(),
        }
        lists["head_buckets"] = pa.uint8()
        if rules.closed:
            lists |= {"tail_surplus": pa.int32(), "tail_steps": pa.uint8()}
        lists["rank_steps"] = pa.uint32()
        sides = ("head", "tail") if rules.closed else ("head",)
        self._bits = [f"{side}_bits" for side in sides]
        bits = [_field(name, pa.binary()) for name in self._bits]
        self._without_contexts = pa.schema([ID_FIELD, *_list_fields(lists), *bits])
        self.schema = pa.schema([*self._without_contexts, *_list_fields(CONTEXT_COLUMNS)])
        self._split_bytes = {
            f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in [*lists, *CONTEXT_COLUMNS]
        }

    def check(self, values: Sequence[SparseTargets], *, ids: Sequence[bytes]) -> list[Packed]:
        """Targets of documents as they will be stored: checked, sorted, rounded.

        Raises:
            ShapeMismatch: Not one for each id, or arrays that do not fit each other.
            ValueError: One of them is no target of this kind; it is named.
        """
        values = list(values)
        if len(values) != len(ids):
            raise ShapeMismatch(
                f"targets of {len(values)} documents were given for {len(ids)} ids; expected one "
                "each"
            )
        for value in values:
            if not isinstance(value, SparseTargets):
                raise ShapeMismatch(
                    f"{type(value).__name__} was given for kind {self.rules.kind}; expected "
                    "SparseTargets"
                )
        checked = [
            self.rules.check(value, example_id=name)
            for name, value in zip(ids, values, strict=True)
        ]
        return [
            pack_targets(value, rules=self.rules, example_id=name)
            for name, value in zip(ids, checked, strict=True)
        ]

    def positions(self, rows: Sequence[Packed]) -> int:
        """Positions of these documents."""
        return sum(len(row.heads) for row in rows)

    def encode(self, ids: ContentIds, rows: Sequence[Packed]) -> pa.Table:
        """Documents as a table; the same documents make the same table in any order of calls."""
        packed = concatenate(rows)
        heads, tails = packed.heads.astype(np.int64), packed.tails.astype(np.int64)
        positions = packed.positions
        head_entries = np.array([len(row.head_ids) for row in rows], np.int64)
        tail_entries = np.array([len(row.tail_ids) for row in rows], np.int64)
        firsts = (np.cumsum(heads) - heads)[heads > 0]
        begun = np.add.reduceat(
            np.append(heads > 0, False), np.cumsum(positions) - positions, dtype=np.int64
        )
        begun[positions == 0] = 0
        climbs = np.delete(np.diff(packed.codes.astype(np.int64), prepend=0), firsts)
        tokens = np.concatenate([packed.head_ids, packed.tail_ids])
        table = RankTable.counting(tokens)
        entries = Entries(heads, tails, table.ranks(tokens))
        contexts = Contexts.learn(entries, frequent=len(table.frequent))
        ranks = entries.ranks if contexts is None else contexts.encode(entries)
        head_ranks, tail_ranks = np.split(ranks, [len(packed.head_ids)])
        buckets, remainders = split_ranks(head_ranks)
        columns: dict[str, pa.Array] = {
            "example_id": id_column(ids),
            "heads": _lists(packed.heads, positions),
            "entropies": _lists(packed.entropies, positions),
            "first_codes": _lists(packed.codes[firsts], begun),
            "next_codes": _lists(_zigzag(climbs), head_entries - begun),
            "head_buckets": _lists(buckets, head_entries),
            "head_bits": _blobs(*pack_bits(remainders, buckets, entries=head_entries)),
            "rank_steps": _of_part(table.steps(), len(rows)),
        }
        if self.rules.closed:
            owners = np.repeat(np.arange(len(tails)), tails)
            ranks = np.sort((owners << 21) | tail_ranks) & (2**21 - 1)
            buckets, remainders = split_ranks(ranks)
            steps = np.diff(buckets, prepend=np.uint8(0))
            firsts = (np.cumsum(tails) - tails)[tails > 0]
            steps[firsts] = buckets[firsts]
            surplus = tails - self.rules.expected_tails(packed.codes, heads)
            columns |= {
                "tail_surplus": _lists(surplus.astype(np.int32), positions),
                "tail_steps": _lists(steps, tail_entries),
                "tail_bits": _blobs(*pack_bits(remainders, buckets, entries=tail_entries)),
            }
        none = np.zeros(0, np.uint32)
        columns |= {
            "contexts": _of_part(
                none.astype(np.uint8) if contexts is None else contexts.of_first, len(rows)
            ),
            "context_sizes": _of_part(
                none if contexts is None else contexts.table.sizes.astype(np.uint32), len(rows)
            ),
            "context_steps": _of_part(
                none if contexts is None else contexts.table.steps(), len(rows)
            ),
        }
        return pa.Table.from_arrays(
            [columns[name] for name in self.schema.names], schema=self.schema
        )

    def write(self, table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
        """A table as the bytes of a Parquet file."""
        sink = pa.BufferOutputStream()
        # Splitting numbers into planes of bytes keeps the zeros of small ones together, so zstd
        # sees bytes only. The
        # Arrow schema, which pyarrow would add, says nothing that these columns do not.
        with pq.ParquetWriter(
            sink,
            table.schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=False,
            column_encoding=self._split_bytes,
            **STATISTICS,
            store_schema=False,
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata(metadata)
        return sink.getvalue().to_pybytes()

    def load(self, file: pq.ParquetFile, path: str) -> SparsePart:
        """A part in memory, still encoded.

        Raises:
            TargetsCorrupt: The columns are not those of this kind, contradict each other, or are
                not known.
        """
        found = file.schema_arrow
        # The first stores had no contexts.
        schema = self.schema if set(CONTEXT_COLUMNS) & set(found.names) else self._without_contexts
        refuse_other_columns(found, schema)
        if unknown := sorted(
            set(found.names) - set(schema.names)
        ):  # which may change what the others mean
            raise TargetsCorrupt(
                f"has columns that this version does not know: {', '.join(unknown)}"
            )
        table = file.read(schema.names, use_threads=False)
        return SparsePart(table.select(schema.names), self.rules, path)

    def gather(
        self, parts: Sequence[SparsePart], owners: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> list[SparseTargets]:
        """Row `rows[i]` of part `owners[i]`, for every i."""
        return gather_lists(parts, owners, rows)

    def measures(self, values: Sequence[SparseTargets]) -> dict[str, NDArray[np.float64]]:
        """Of each position: entropy in nats, probability in its head, entries of its head and
        tail.
        """
        masses = [_head_mass(value) for value in values]
        return {
            "entropy_nats": _joined([value.entropies for value in values]),
            "kept_mass": _joined(masses),
            "head": _joined([value.heads for value in values]),
            "tail": _joined([value.counts.astype(np.int64) - value.heads for value in values]),
        }

    def as_json(self, value: SparseTargets) -> dict[str, Any]:
        """One document for people: at each position the entropy, and pairs of id and
        log-probability.
        """
        starts = np.cumsum(value.counts, dtype=np.int64) - value.counts
        pairs = list(
            zip(
                value.ids.tolist(),
                [round(number, 6) for number in value.logprobs.tolist()],
                strict=True,
            )
        )
        positions = []
        for start, count, heads, entropy in zip(
            starts, value.counts, value.heads, value.entropies, strict=True
        ):
            record: dict[str, Any] = {
                "entropy": round(float(entropy), 4),
                "head": pairs[start : start + heads],
            }
            if self.rules.closed:
                record["tail"] = pairs[start + heads : start + count]
            positions.append(record)
        return {"positions": positions}


def _head_mass(value: SparseTargets) -> NDArray[np.float64]:
    """Probability of the head of each position."""
    owners = np.repeat(np.arange(len(value)), value.counts)
    starts = np.cumsum(value.counts, dtype=np.int64) - value.counts
    in_head = np.arange(len(owners)) - starts[owners] < value.heads[owners]
    masses = np.bincount(
        owners[in_head], np.exp(value.logprobs[in_head].astype(np.float64)), minlength=len(value)
    )
    return masses.astype(np.float64)


def _joined(arrays: Sequence[NDArray]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *arrays]).astype(np.float64)


def _zigzag(numbers: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Small numbers of either sign as small ones without: 0, -1, 1, -2 are 0, 1, 2, 3."""
    return np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype(np.uint16)


def _field(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _list_fields(elements: Mapping[str, pa.DataType]) -> list[pa.Field]:
    return [
        _field(name, pa.list_(pa.field("element", kind, nullable=False)))
        for name, kind in elements.items()
    ]


def _of_part(elements: NDArray, rows: int) -> pa.Array:
    """What a part has once, in its first row."""
    return _lists(elements, np.array([len(elements)] + [0] * (rows - 1)))


def _lists(elements: NDArray, lengths: NDArray[np.int64]) -> pa.Array:
    """Rows of `lengths` elements."""
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]).astype(np.int32)
    kind = pa.list_(pa.field("element", pa.from_numpy_dtype(elements.dtype), nullable=False))
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(elements), type=kind)


def _blobs(content: NDArray[np.uint8], sizes: NDArray[np.int64]) -> pa.Array:
    """Rows of `sizes` bytes."""
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(),
        len(sizes),
        [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(content.tobytes())],
    )
