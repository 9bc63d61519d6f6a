"""What a row of a store is: the content id that it is found by, as an array and as a Parquet
column, and what a teacher says about the tokens of one document, as a few ids with their
log-probabilities or as hidden states.

There is one target for each trained token, in order; P is their number. Arrays are numpy; nothing
here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt
from tutelage.types import EXAMPLE_ID_BYTES

_ID_DTYPE = np.dtype(f"S{EXAMPLE_ID_BYTES}")

ContentIds = NDArray[np.bytes_]
"""Content ids `[N]`, 16 bytes each. Compare whole arrays only: numpy cuts trailing zeros off a
single element."""

ID_FIELD = pa.field("example_id", pa.binary(EXAMPLE_ID_BYTES), nullable=False)
"""The column that every part has."""
STATISTICS: dict[str, Any] = {"write_statistics": ["example_id"]}
"""Of the other columns of token targets, smallest and largest values would tell nothing."""


def as_ids(ids: Sequence[bytes]) -> ContentIds:
    """Content ids as one array `[N]`.

    Raises:
        TypeError: One is not bytes.
        ValueError: One has not 16 bytes.
    """
    for name in ids:
        if not isinstance(name, bytes):
            raise TypeError(
                f"the id {name!r} of type {type(name).__name__} was given; expected the bytes of "
                "tutelage.types.example_id(text)"
            )
        if len(name) != EXAMPLE_ID_BYTES:
            raise ValueError(
                f"the id {name.hex()} of {len(name)} bytes was given; expected {EXAMPLE_ID_BYTES}: "
                "tutelage.types.example_id(text)"
            )
    return np.frombuffer(b"".join(ids), _ID_DTYPE)


def from_ids(ids: ContentIds) -> list[bytes]:
    """The ids of an array as bytes, each whole."""
    content = ids.tobytes()
    return [
        content[start : start + EXAMPLE_ID_BYTES]
        for start in range(0, len(content), EXAMPLE_ID_BYTES)
    ]


def no_ids() -> ContentIds:
    """An array of no ids."""
    return np.empty(0, _ID_DTYPE)


def id_column(ids: ContentIds) -> pa.Array:
    """Ids as the column of a part."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(EXAMPLE_ID_BYTES), len(ids), [None, pa.py_buffer(ids.tobytes())]
    )


def read_id_column(column: pa.ChunkedArray) -> ContentIds:
    """The ids of a part's column.

    Raises:
        TargetsCorrupt: One is null.
    """
    names = column.combine_chunks()
    if names.null_count:
        raise TargetsCorrupt("has null values; expected none")
    if not len(names):
        return no_ids()
    return np.frombuffer(names.buffers()[1], _ID_DTYPE)[names.offset : names.offset + len(names)]


def refuse_other_columns(found: pa.Schema, expected: pa.Schema) -> None:
    """Refuse a table whose columns are not those of its kind.

    The name and nullability of a list's element differ between writers and do not matter.

    Raises:
        TargetsCorrupt: One lacks, or has another type.
    """
    kinds = _kinds(found)
    if len(kinds) < len(found.names):
        raise TargetsCorrupt("has two columns of one name")
    if any(kinds.get(name) != kind for name, kind in _kinds(expected).items()):
        raise TargetsCorrupt(f"has the columns {_named(found)}; expected {_named(expected)}")


def _kinds(schema: pa.Schema) -> dict[str, tuple[object, ...]]:
    return {field.name: _kind(field.type) for field in schema}


def _kind(kind: pa.DataType) -> tuple[object, ...]:
    if pa.types.is_fixed_size_list(kind):
        return ("fixed list", kind.list_size, kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return ("list", kind.value_type)
    return (kind,)


def _named(schema: pa.Schema) -> str:
    def name(kind: pa.DataType) -> str:
        if pa.types.is_fixed_size_list(kind):
            return f"fixed_size_list<{kind.value_type}>[{kind.list_size}]"
        return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)

    return ", ".join(f"{field.name}: {name(field.type)}" for field in schema)


@dataclass(frozen=True, slots=True, eq=False)
class SparseTargets:
    """A few entries for each position of a document: kinds `sampled` and `top_k`.

    The entries of a position lie together, its head first. In a store of kind `sampled` every tail
    entry of a position stands for the same mass and exp(logprobs) of a position sums to 1; in
    `top_k` all entries are head, and what they lack to 1 is the mass of all other ids.
    """

    counts: NDArray[np.uint16]
    """Entries of each position, [P]."""
    heads: NDArray[np.uint16]
    """How many of them are head, that is kept rather than drawn, [P]. As stored: the most probable
    first."""
    ids: NDArray[np.int32]
    """Token ids, [N], N = counts.sum(); distinct within a position. As stored: those of the tail
    ascend."""
    logprobs: NDArray[np.float32]
    """Natural logarithms of probability (head) or of the mass that an entry stands for (tail),
    [N]."""
    entropies: NDArray[np.float32]
    """Entropy of the teacher's whole distribution in nats, [P]."""

    def __len__(self) -> int:
        """P."""
        return len(self.counts)


@dataclass(frozen=True, slots=True, eq=False)
class HiddenTargets:
    """The teacher's final hidden state at each position of a document, 8 bits a value: kind
    `hidden`.

    `states * scales[:, None]` is what the store's output matrix multiplies: see
    `targets.OutputMatrix`.
    """

    states: NDArray[np.int8]
    """[P, H]."""
    scales: NDArray[np.float32]
    """[P]."""
    entropies: NDArray[np.float32]
    """Entropy of the teacher's whole distribution in nats, [P]."""

    def __len__(self) -> int:
        """P."""
        return len(self.scales)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.states.nbytes + self.scales.nbytes + self.entropies.nbytes
