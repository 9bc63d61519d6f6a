"""One part of a target store: written whole or not at all, and read only if it is what the manifest says.

In: a folder, a manifest, and rows or the entry of a part. Out: the entry, or the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt
from tutelage.runs import atomic_write_bytes
from tutelage.targets.encoding import Ids, TargetEncoder
from tutelage.targets.manifest import Manifest, Part

METADATA_KEY = b"tutelage"
"""Where a part repeats what its rows depend on, so that it can be understood, and recognised, alone."""


def write_part(
    folder: Path, name: str, *, manifest: Manifest, encoder: TargetEncoder, ids: Ids, values: NDArray[Any]
) -> Part:
    """Write rows as one Parquet file: under a temporary name, synced, renamed.

    Rows are sorted by id, so the same rows make the same file whatever order they came in.

    Returns:
        The entry for the manifest.
    """
    order = np.argsort(ids)
    table = encoder.encode(ids[order], values[order])
    identity = json.dumps({"format": manifest.format, **manifest.identity}, ensure_ascii=False)
    sink = pa.BufferOutputStream()
    # Ids are random and probabilities nearly so: a dictionary would only add to them.
    pq.write_table(
        table.replace_schema_metadata({METADATA_KEY: identity.encode()}), sink, compression="zstd", use_dictionary=False
    )
    content = sink.getvalue().to_pybytes()
    atomic_write_bytes(folder / name, content)
    return Part(
        file=name,
        rows=len(ids),
        positions=encoder.positions(values),
        bytes=len(content),
        sha256=sha256(content).hexdigest(),
    )


def read_part(folder: Path, part: Part, *, manifest: Manifest, encoder: TargetEncoder) -> tuple[Ids, NDArray[Any]]:
    """The rows of one part, checked byte by byte against the manifest.

    Returns:
        Ids `[N]` and values, in the order of the file.

    Raises:
        TargetsCorrupt: The file is missing, damaged, or not what the manifest says; the message names it.
    """
    path = folder / part.file
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise TargetsCorrupt(f"{path} is missing ({part.rows:,} rows)") from error
    if len(content) != part.bytes:
        raise TargetsCorrupt(
            f"{path} is damaged: it has {len(content):,} bytes, not the {part.bytes:,} written ({part.rows:,} rows)"
        )
    if (digest := sha256(content).hexdigest()) != part.sha256:
        raise TargetsCorrupt(
            f"{path} is damaged: its SHA-256 is {digest[:12]}..., not {part.sha256[:12]}... as written "
            f"({part.rows:,} rows)"
        )
    try:
        # The very bytes that were checked are parsed; a part is too small for threads to help.
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise TargetsCorrupt(f"{path} is not readable as Parquet ({error})") from error
    _refuse_other_identity(path, table.schema.metadata or {}, manifest)
    try:
        ids, values = encoder.decode(table)
    except TargetsCorrupt as error:
        raise TargetsCorrupt(f"{path} {error}") from error
    found = (len(ids), encoder.positions(values))
    if found != (part.rows, part.positions):
        raise TargetsCorrupt(
            f"{path} holds {found[0]:,} rows and {found[1]:,} positions; the manifest says {part.rows:,} and "
            f"{part.positions:,}"
        )
    return ids, values


def _refuse_other_identity(path: Path, metadata: Mapping[bytes, bytes], manifest: Manifest) -> None:
    """A part carries what its rows depend on: a manifest edited by hand or moved between stores is noticed."""
    if METADATA_KEY not in metadata:  # written by another program; its checksum speaks for it
        return
    if differences := manifest.differences(json.loads(metadata[METADATA_KEY])):
        raise TargetsCorrupt(
            f"{path} belongs to another store, or the manifest was edited: {'; '.join(differences)} as in the part"
        )
