"""From soft targets to the columns of a Parquet part, and back: one encoder for each kind of target.

In: content ids and what the teacher said about each. Out: an Arrow table, or the arrays again. `class_probabilities`
keeps a float32 for every label, exactly. Kinds for token distributions stand beside it by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch, TargetsCorrupt
from tutelage.types import EXAMPLE_ID_BYTES

ROW_SUM_TOLERANCE = 1e-4
_ID_DTYPE = np.dtype(f"S{EXAMPLE_ID_BYTES}")

Ids = NDArray[np.bytes_]
"""Content ids `[N]`, 16 bytes each. Compare whole arrays only: numpy cuts trailing zeros off a single element."""


class TargetEncoder(Protocol):
    """How one kind of target lies in a part."""

    def check(self, values: ArrayLike, *, ids: Sequence[bytes]) -> NDArray[Any]:
        """The values in the precision they are stored in.

        Raises:
            ShapeMismatch: They do not fit the ids or the kind.
            ValueError: One of them is no distribution.
        """
        ...

    def encode(self, ids: Ids, values: NDArray[Any]) -> pa.Table:
        """Ids and checked values as a table."""
        ...

    def decode(self, table: pa.Table) -> tuple[Ids, NDArray[Any]]:
        """A table as ids and values.

        Raises:
            TargetsCorrupt: The columns or values are not those of this kind.
        """
        ...

    def empty(self) -> NDArray[Any]:
        """The values of no rows."""
        ...

    def positions(self, values: NDArray[Any]) -> int:
        """How many distributions the values hold."""
        ...

    def entropies(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Entropy of each distribution in nats."""
        ...


class ClassProbabilities:
    """One float32 for every label."""

    def __init__(self, num_classes: int) -> None:
        """Know the number of labels."""
        self.num_classes = num_classes
        self.schema = pa.schema(
            [
                pa.field("example_id", pa.binary(EXAMPLE_ID_BYTES), nullable=False),
                pa.field("probs", pa.list_(pa.float32(), num_classes), nullable=False),
            ]
        )

    def check(self, values: ArrayLike, *, ids: Sequence[bytes]) -> NDArray[np.float32]:
        """Probabilities `[N, C]` in float32, refused unless every row is a distribution over the labels.

        Raises:
            ShapeMismatch: Not one row of C values for each id.
            ValueError: A row is not finite, is negative somewhere, or does not sum to 1 within 1e-4.
        """
        probs = np.asarray(values, dtype=np.float32)
        expected = (len(ids), self.num_classes)
        if probs.shape != expected:
            raise ShapeMismatch(
                f"probabilities of shape {probs.shape} were given for {len(ids)} ids and {self.num_classes} labels; "
                f"expected {expected}: one row for each id, one column for each label"
            )
        if wrong := _not_distributions(probs):
            row = wrong[0]
            raise ValueError(
                f"{len(wrong)} of {len(ids)} rows are no distributions, the first for id {ids[row].hex()}: "
                f"{probs[row].tolist()} sums to {probs[row].sum(dtype=np.float64):.6g}; expected values of at least "
                f"0 that sum to 1 within {ROW_SUM_TOLERANCE:g}: give probabilities, not logits or log-probabilities"
            )
        return probs

    def encode(self, ids: Ids, values: NDArray[np.float32]) -> pa.Table:
        """Ids and probabilities `[N, C]` as a table."""
        column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(EXAMPLE_ID_BYTES), len(ids), [None, pa.py_buffer(ids.tobytes())]
        )
        flat = pa.array(np.ascontiguousarray(values).ravel(), pa.float32())
        return pa.Table.from_arrays(
            [column, pa.FixedSizeListArray.from_arrays(flat, self.num_classes)], schema=self.schema
        )

    def decode(self, table: pa.Table) -> tuple[Ids, NDArray[np.float32]]:
        """A table as ids `[N]` and probabilities `[N, C]`.

        Raises:
            TargetsCorrupt: The columns are not those of this kind, a value is null, or a row is no distribution.
        """
        found = {field.name: field.type for field in table.schema}
        if not _is_ids(found.get("example_id")) or not _is_probs(found.get("probs"), self.num_classes):
            columns = ", ".join(f"{name}: {kind}" for name, kind in found.items())
            raise TargetsCorrupt(
                f"has the columns {columns}; expected example_id: fixed_size_binary[{EXAMPLE_ID_BYTES}] and probs: "
                f"fixed_size_list<float>[{self.num_classes}]"
            )
        names, lists = table["example_id"].combine_chunks(), table["probs"].combine_chunks()
        flat = lists.flatten()
        if names.null_count or lists.null_count or flat.null_count:
            raise TargetsCorrupt("has null values; expected none")
        ids = (
            np.frombuffer(names.buffers()[1], _ID_DTYPE)[names.offset : names.offset + len(names)]
            if len(names)
            else no_ids()
        )
        probs = flat.to_numpy().reshape(-1, self.num_classes)
        if wrong := _not_distributions(probs):
            raise TargetsCorrupt(f"has {len(wrong)} rows that are no distributions, the first is row {wrong[0] + 1}")
        return ids, probs

    def empty(self) -> NDArray[np.float32]:
        """Shape `[0, C]`."""
        return np.empty((0, self.num_classes), np.float32)

    def positions(self, values: NDArray[np.float32]) -> int:
        """One distribution a row."""
        return len(values)

    def entropies(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Entropy of each row in nats; `[N]`."""
        probs = values.astype(np.float64)
        return -(probs * np.log(np.where(probs > 0, probs, 1.0))).sum(axis=1)


def encoder_for(kind: str, *, labels: Sequence[str]) -> TargetEncoder:
    """The encoder of a kind.

    Raises:
        ValueError: A kind that this version does not know, or labels that this kind cannot have.
    """
    match kind:
        case "class_probabilities":
            if len(labels) < 2 or len(set(labels)) < len(labels):
                raise ValueError(f"labels {list(labels)} were given; expected at least two names, all different")
            return ClassProbabilities(len(labels))
        case _:
            raise ValueError(f"targets of kind {kind!r} were asked for; this version knows only class_probabilities")


def as_ids(ids: Sequence[bytes]) -> Ids:
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


def from_ids(ids: Ids) -> list[bytes]:
    """The ids of an array as bytes, each whole."""
    content = ids.tobytes()
    return [content[start : start + EXAMPLE_ID_BYTES] for start in range(0, len(content), EXAMPLE_ID_BYTES)]


def no_ids() -> Ids:
    """An array of no ids."""
    return np.empty(0, _ID_DTYPE)


def _not_distributions(probs: NDArray[np.float32]) -> list[int]:
    """Rows that are not finite, negative somewhere, or do not sum to 1."""
    sums = probs.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails too; an infinite value cannot sum to 1.
    good = (np.abs(sums - 1) <= ROW_SUM_TOLERANCE) & (probs >= 0).all(axis=1)
    return np.flatnonzero(~good).tolist()


def _is_ids(kind: Any) -> bool:
    return kind is not None and kind.equals(pa.binary(EXAMPLE_ID_BYTES))


def _is_probs(kind: Any, num_classes: int) -> bool:
    # The name and nullability of the list's element differ between writers and do not matter.
    if kind is None or not pa.types.is_fixed_size_list(kind):
        return False
    return kind.list_size == num_classes and kind.value_type.equals(pa.float32())
