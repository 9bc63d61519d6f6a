"""How each kind of target lies in a part: one encoder a kind, chosen by what the manifest says.

In: content ids and what the teacher said about each. Out: an Arrow table and the bytes of a Parquet
file; or the other way round. Between the two lie *packed* rows: values in the precision they are
stored in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt
from tutelage.targets.classes import ClassProbabilities
from tutelage.targets.hidden import Hidden
from tutelage.targets.manifest import Manifest
from tutelage.targets.rows import ContentIds
from tutelage.targets.sparse import Sparse
from tutelage.targets.sparse_rules import SparseRules

STORE_KINDS = ("class_probabilities", "hidden", "sampled", "top_k")
"""What a target can be."""


class LoadedPart(Protocol):
    """The rows of one part, in the order of the file."""

    ids: ContentIds
    """Content ids `[N]`."""
    positions: int
    """Distributions in all rows."""
    elements: NDArray[np.int64]
    """Values of each row, `[N]`: decoding it takes memory in proportion."""
    nbytes: int
    """Memory that the part takes."""

    def packed(self, rows: NDArray[np.int64]) -> Sequence[Any]:
        """Some rows, as an encoder packed them."""
        ...

    def decode(self, rows: NDArray[np.int64]) -> Any:
        """The targets of some rows.

        Raises:
            TargetsCorrupt: The columns contradict each other.
        """
        ...


@runtime_checkable
class Movable(Protocol):
    """A part whose values can lie in a file in the place of memory."""

    def move_to(self, file: BinaryIO) -> None:
        """Move them to the end of a file; nothing can be read until `found_in`.

        Raises:
            OSError: There is no room for them; they stay where they were.
        """
        ...

    def found_in(self, content: memoryview) -> None:
        """Read them from now on in the bytes of that file."""
        ...


class TargetEncoder(Protocol):
    """How one kind of target lies in a part."""

    lazy: bool
    """Whether a part stays on disk and rows are read when asked for."""
    joins: bool
    """Whether a large part takes fewer bytes than its rows do in small ones."""
    schema: pa.Schema
    """The columns."""

    def check(self, values: Any, *, ids: Sequence[bytes]) -> Sequence[Any]:
        """A packed row for each id, none of which shares memory with the values.

        Raises:
            ShapeMismatch: The values do not fit the ids or the kind.
            ValueError: One of them is no target of this kind; it is named.
        """
        ...

    def positions(self, rows: Sequence[Any]) -> int:
        """How many distributions packed rows hold."""
        ...

    def encode(self, ids: ContentIds, rows: Sequence[Any]) -> pa.Table:
        """Ids and packed rows, at least one, as a table."""
        ...

    def write(self, table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
        """A table as the bytes of a Parquet file."""
        ...

    def load(self, file: pq.ParquetFile, path: str) -> Any:
        """A part (`LoadedPart`).

        Raises:
            TargetsCorrupt: The columns or values are not those of this kind.
        """
        ...

    def gather(
        self, parts: Sequence[Any], owners: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Any:
        """The targets of row `rows[i]` of part `owners[i]`, for every i."""
        ...

    def measures(self, values: Any) -> dict[str, NDArray[np.float64]]:
        """Numbers about each distribution: `entropy_nats`, `kept_mass` (stored rather than drawn),
        and others.
        """
        ...

    def as_json(self, value: Any) -> dict[str, Any]:
        """The targets of one row as JSON values."""
        ...


def encoder_for(manifest: Manifest) -> TargetEncoder:
    """The encoder of a store.

    Raises:
        ValueError: A kind that this version does not know, or labels or an encoding that this kind
            cannot have.
    """
    match manifest.kind:
        case "class_probabilities":
            return ClassProbabilities(manifest.labels)
        case "sampled" | "top_k":
            return Sparse(
                SparseRules(
                    manifest.kind, manifest.encoding, manifest.vocabulary_size, manifest.seed
                )
            )
        case "hidden":
            return Hidden(manifest.encoding)
        case kind:
            raise ValueError(
                f"targets of kind {kind!r} were asked for; this version knows "
                f"{', '.join(STORE_KINDS)}"
            )


def encoder_of(folder: Path, manifest: Manifest) -> TargetEncoder:
    """The encoder of a store.

    Raises:
        TargetsCorrupt: The manifest names a kind, labels or an encoding that this version cannot
            read.
    """
    try:
        return encoder_for(manifest)
    except ValueError as error:
        raise TargetsCorrupt(f"{folder} cannot be read: {error}") from error
