"""Kind `class_probabilities`: a float32 for every label, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import ShapeMismatch, TargetsCorrupt
from tutelage.targets.manifest import named
from tutelage.targets.rows import (
    ID_FIELD,
    ContentIds,
    id_column,
    read_id_column,
    refuse_other_columns,
)

ROW_SUM_TOLERANCE = 1e-4


class ClassPart:
    """A part of probabilities in memory."""

    def __init__(self, ids: ContentIds, probs: NDArray[np.float32]) -> None:
        """Ids `[N]` and probabilities `[N, C]`."""
        self.ids = ids
        self.positions = len(ids)
        self.probs = probs
        self.elements = np.full(len(ids), probs.shape[1], np.int64)
        self.nbytes = ids.nbytes + probs.nbytes + self.elements.nbytes

    def packed(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows as they are stored, `[n, C]`."""
        return self.probs[rows]

    def decode(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities `[n, C]`."""
        return self.probs[rows]


class ClassProbabilities:
    """One float32 for every label."""

    lazy = False
    joins = False

    def __init__(self, labels: Sequence[str]) -> None:
        """Know the labels.

        Raises:
            ValueError: Fewer than two, or one twice.
        """
        if len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(
                f"labels [{named(labels)}] were given; expected at least two names, all different"
            )
        self.labels = tuple(labels)
        self.num_classes = len(labels)
        self.schema = pa.schema(
            [ID_FIELD, pa.field("probs", pa.list_(pa.float32(), self.num_classes), nullable=False)]
        )

    def check(self, values: ArrayLike, *, ids: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Probabilities of N rows in float32, copies, refused unless every row is a distribution
        over the labels.

        Raises:
            ShapeMismatch: Not one row of C values for each id.
            ValueError: A row is not finite, is negative somewhere, or does not sum to 1 within
                1e-4.
        """
        probs = np.array(values, dtype=np.float32)
        expected = (len(ids), self.num_classes)
        if probs.shape != expected:
            raise ShapeMismatch(
                f"probabilities of shape {probs.shape} were given for {len(ids)} ids and "
                f"{self.num_classes} labels; "
                f"expected {expected}: one row for each id, one column for each label"
            )
        if wrong := _not_distributions(probs):
            row = wrong[0]
            raise ValueError(
                f"{len(wrong)} of {len(ids)} rows are no distributions, the first for id "
                f"{ids[row].hex()}: "
                f"{probs[row].tolist()} sums to {probs[row].sum(dtype=np.float64):.6g}; expected "
                "values of at least "
                f"0 that sum to 1 within {ROW_SUM_TOLERANCE:g}: give probabilities, not logits or "
                "log-probabilities"
            )
        return list(probs)

    def positions(self, rows: Sequence[NDArray[np.float32]]) -> int:
        """One distribution a row."""
        return len(rows)

    def encode(self, ids: ContentIds, rows: Sequence[NDArray[np.float32]]) -> pa.Table:
        """Ids and rows of C probabilities as a table."""
        flat = pa.array(np.stack(rows).ravel(), pa.float32())
        return pa.Table.from_arrays(
            [id_column(ids), pa.FixedSizeListArray.from_arrays(flat, self.num_classes)],
            schema=self.schema,
        )

    def write(self, table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
        """A table as the bytes of a Parquet file."""
        sink = pa.BufferOutputStream()
        # Ids are random and probabilities nearly so: a dictionary would only add to them.
        pq.write_table(
            table.replace_schema_metadata(metadata), sink, compression="zstd", use_dictionary=False
        )
        return sink.getvalue().to_pybytes()

    def load(self, file: pq.ParquetFile, path: str) -> ClassPart:
        """A part with every row in memory.

        Raises:
            TargetsCorrupt: The columns are not those of this kind, a value is null, or a row is no
                distribution.
        """
        del path
        refuse_other_columns(file.schema_arrow, self.schema)
        table = file.read(self.schema.names, use_threads=False)
        lists = table["probs"].combine_chunks()
        flat = lists.flatten()
        if lists.null_count or flat.null_count:
            raise TargetsCorrupt("has null values; expected none")
        ids, probs = (
            read_id_column(table["example_id"]),
            flat.to_numpy().reshape(-1, self.num_classes),
        )
        if wrong := _not_distributions(probs):
            raise TargetsCorrupt(
                f"has {len(wrong)} rows that are no distributions, the first is row {wrong[0] + 1}"
            )
        return ClassPart(ids, probs)

    def gather(
        self, parts: Sequence[ClassPart], owners: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Row `rows[i]` of part `owners[i]`, for every i; `[n, C]`, a copy."""
        values = np.empty((len(rows), self.num_classes), np.float32)
        for owner in np.unique(owners):
            here = owners == owner
            values[here] = parts[owner].probs[rows[here]]
        return values

    def measures(self, values: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Entropy in nats and kept mass of each row."""
        probs = values.astype(np.float64)
        entropies = -(probs * np.log(np.where(probs > 0, probs, 1.0))).sum(axis=1)
        return {"entropy_nats": entropies, "kept_mass": np.ones(len(probs))}

    def as_json(self, value: NDArray[np.float32]) -> dict[str, Any]:
        """One row for people: the probability of each label."""
        return {
            "probs": {
                label: round(float(prob), 7) for label, prob in zip(self.labels, value, strict=True)
            }
        }


def _not_distributions(probs: NDArray[np.float32]) -> list[int]:
    """Rows that are not finite, negative somewhere, or do not sum to 1."""
    with np.errstate(invalid="ignore"):  # infinite values of either sign
        sums = probs.sum(axis=1, dtype=np.float64)
    # Written so that NaN fails too; an infinite value cannot sum to 1.
    good = (np.abs(sums - 1) <= ROW_SUM_TOLERANCE) & (probs >= 0).all(axis=1)
    return np.flatnonzero(~good).tolist()
