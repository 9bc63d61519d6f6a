"""Kind `hidden`: the final hidden state of every position in 8 bits a value, read from disk when
asked for.

A part is far too large to keep in memory. Its rows lie in small row groups, and looking a document
up reads its own, with the checksum of every page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.errors import ShapeMismatch, TargetsCorrupt
from tutelage.targets.rows import (
    ID_FIELD,
    STATISTICS,
    ContentIds,
    HiddenTargets,
    id_column,
    read_id_column,
    refuse_other_columns,
)
from tutelage.targets.sparse_part import Lists, gather_lists

MOST_CHANNELS = 2**20
"""More values than any hidden state has."""
ROW_GROUP_BYTES = 2**20
"""About what looking one document up reads."""
SCHEMA = pa.schema(
    [
        ID_FIELD,
        pa.field("states", pa.binary(), nullable=False),
        pa.field(
            "scales", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False
        ),
        pa.field(
            "entropies", pa.list_(pa.field("element", pa.float32(), nullable=False)), nullable=False
        ),
    ]
)


class HiddenPart:
    """A part on disk: its ids and where each row lies are in memory."""

    def __init__(self, file: pq.ParquetFile, path: str, *, hidden_size: int) -> None:
        """Read what is small of a part whose schema has been checked.

        Raises:
            TargetsCorrupt: Something is null.
        """
        self._path, self._metadata, self._hidden_size = Path(path), file.metadata, hidden_size
        table = file.read(["example_id", "scales"], use_threads=False)
        self.ids: ContentIds = read_id_column(table["example_id"])
        offsets = Lists.of(table["scales"]).offsets
        self.positions = int(offsets[-1] - offsets[0])
        # A state takes a byte a value, where entries of other kinds take some hundred.
        self.elements = np.diff(offsets) * (2 + hidden_size // 16)
        self.nbytes = self.ids.nbytes + self.elements.nbytes
        sizes = [
            self._metadata.row_group(number).num_rows
            for number in range(self._metadata.num_row_groups)
        ]
        self._firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])

    def decode(self, rows: NDArray[np.int64]) -> list[HiddenTargets]:
        """The targets of these documents.

        Raises:
            TargetsCorrupt: The file has gone or changed since the store was opened.
        """
        groups = np.searchsorted(self._firsts, rows, side="right") - 1
        needed = np.unique(groups)
        try:
            with pq.ParquetFile(
                self._path,
                metadata=self._metadata,
                memory_map=True,
                page_checksum_verification=True,
            ) as file:
                table = file.read_row_groups(needed.tolist(), use_threads=False)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise TargetsCorrupt(
                f"{self._path} is not what it was when the store was opened ({error})"
            ) from error
        states, scales, entropies = (
            Lists.of(table[name]) for name in ("states", "scales", "entropies")
        )
        lengths = self._firsts[needed + 1] - self._firsts[needed]
        places = (
            rows
            - self._firsts[groups]
            + (np.cumsum(lengths) - lengths)[np.searchsorted(needed, groups)]
        )
        found = []
        for place in places:
            one = place[None]
            scale = scales.take(one)
            if len(states.take(one)) != len(scale) * self._hidden_size or len(
                entropies.take(one)
            ) != len(scale):
                raise TargetsCorrupt(
                    f"{self._path} has other numbers of positions in states or entropies than in "
                    "scales"
                )
            state = states.take(one).view(np.int8).reshape(len(scale), self._hidden_size)
            entropy = entropies.take(one)
            for numbers, what in ((scale, "scales"), (entropy, "entropies")):
                if not (np.isfinite(numbers).all() and (numbers > -0.01).all()):
                    raise TargetsCorrupt(f"{self._path} has {what} that are negative or not finite")
            found.append(HiddenTargets(state, scale, entropy))
        return found

    def packed(self, rows: NDArray[np.int64]) -> list[HiddenTargets]:
        """As `decode`: nothing is lost between the two."""
        return self.decode(rows)


class Hidden:
    """The encoder of `hidden`."""

    lazy = True
    joins = False

    def __init__(self, encoding: Mapping[str, Any]) -> None:
        """Know the width of the states.

        Raises:
            ValueError: An encoding that this version does not know.
        """
        if encoding.get("bits", 8) != 8:
            raise ValueError(
                f"bits={encoding['bits']!r} was given for targets of kind hidden; this version "
                "knows only 8"
            )
        size = encoding.get("hidden_size")
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MOST_CHANNELS:
            raise ValueError(
                f"hidden_size={size!r} was given for targets of kind hidden; expected the width of "
                f"a state, 1 to {MOST_CHANNELS:,}"
            )
        self.hidden_size = size
        self.schema = SCHEMA

    def check(
        self, values: Sequence[HiddenTargets], *, ids: Sequence[bytes]
    ) -> list[HiddenTargets]:
        """Targets of documents, copied.

        Raises:
            ShapeMismatch: Not one for each id, or arrays that do not fit each other or the store.
            ValueError: A scale or an entropy is not finite, or negative.
        """
        values = list(values)
        if len(values) != len(ids):
            raise ShapeMismatch(
                f"targets of {len(values)} documents were given for {len(ids)} ids; expected one "
                "each"
            )
        return [self._checked(value, name) for name, value in zip(ids, values, strict=True)]

    def _checked(self, value: HiddenTargets, name: bytes) -> HiddenTargets:
        if not isinstance(value, HiddenTargets):
            raise ShapeMismatch(
                f"{type(value).__name__} was given for kind hidden; expected HiddenTargets"
            )
        states = np.asarray(value.states)
        scales, entropies = np.asarray(value.scales), np.asarray(value.entropies)
        expected = (len(scales), self.hidden_size)
        if (
            states.shape != expected
            or states.dtype != np.int8
            or not scales.shape == entropies.shape == expected[:1]
        ):
            raise ShapeMismatch(
                f"the targets of document {name.hex()} have states "
                f"{states.dtype}{list(states.shape)}, scales "
                f"{list(scales.shape)} and entropies {list(entropies.shape)}; expected "
                f"int8{list(expected)} and twice "
                f"[{len(scales)}]"
            )
        for numbers, what in ((scales, "scales"), (entropies, "entropies")):
            if not (np.isfinite(numbers).all() and (numbers > -0.01).all()):
                raise ValueError(
                    f"the targets of document {name.hex()} have {what} that are negative or not "
                    "finite"
                )
        return HiddenTargets(
            states.copy(), scales.astype(np.float32), np.maximum(entropies, 0).astype(np.float32)
        )

    def positions(self, rows: Sequence[HiddenTargets]) -> int:
        """Positions of these documents."""
        return sum(len(row) for row in rows)

    def encode(self, ids: ContentIds, rows: Sequence[HiddenTargets]) -> pa.Table:
        """Documents as a table."""
        lists = SCHEMA.field("scales").type
        return pa.Table.from_arrays(
            [
                id_column(ids),
                pa.array([row.states.tobytes() for row in rows], pa.binary()),
                pa.array([row.scales for row in rows], lists),
                pa.array([row.entropies for row in rows], lists),
            ],
            schema=SCHEMA,
        )

    def write(self, table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
        """A table as the bytes of a Parquet file."""
        sink = pa.BufferOutputStream()
        rows = max(1, table.num_rows * ROW_GROUP_BYTES // max(1, table.nbytes))
        with pq.ParquetWriter(
            sink,
            table.schema,
            compression="zstd",
            compression_level=1,  # higher levels gain nothing on states, and take many times longer
            use_dictionary=False,
            column_encoding={
                f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in ("scales", "entropies")
            },
            **STATISTICS,
            write_page_checksum=True,
            store_schema=False,
        ) as writer:
            writer.write_table(table, row_group_size=rows)
            writer.add_key_value_metadata(metadata)
        return sink.getvalue().to_pybytes()

    def load(self, file: pq.ParquetFile, path: str) -> HiddenPart:
        """A part that stays on disk.

        Raises:
            TargetsCorrupt: The columns are not those of this kind.
        """
        refuse_other_columns(file.schema_arrow, SCHEMA)
        return HiddenPart(file, path, hidden_size=self.hidden_size)

    def gather(
        self, parts: Sequence[HiddenPart], owners: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> list[HiddenTargets]:
        """Row `rows[i]` of part `owners[i]`, for every i."""
        return gather_lists(parts, owners, rows)

    def measures(self, values: Sequence[HiddenTargets]) -> dict[str, NDArray[np.float64]]:
        """Of each position: entropy in nats; the whole distribution is kept."""
        entropies = np.concatenate([np.zeros(0), *(value.entropies for value in values)]).astype(
            np.float64
        )
        return {"entropy_nats": entropies, "kept_mass": np.ones(len(entropies))}

    def as_json(self, value: HiddenTargets) -> dict[str, Any]:
        """One document for people: entropies, scales, states."""
        return {
            "entropies": [round(number, 4) for number in value.entropies.tolist()],
            "scales": value.scales.tolist(),
            "states": value.states.tolist(),
        }
