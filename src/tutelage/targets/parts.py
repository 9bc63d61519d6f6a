"""Parts of a target store: written whole or not at all, read only if they are what the manifest
says, and put together where they are small.

In: a folder, a manifest, and rows or the entries of parts. Out: the entries, or the rows.

Small parts become large ones, which code the same rows in fewer bytes: their tables of ids are
shared by more. A slow teacher closes a part every half minute, so that a kill loses little more.
Those parts are put together once they fill a whole one, and when labelling finishes. The manifest
names the small parts or the large one, never both; files that it does not name, which a kill may
leave, count for nothing.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tutelage.errors import TargetsCorrupt, TargetsError
from tutelage.runs import MOST_JSON_BYTES, atomic_write_bytes, parse_json
from tutelage.targets.bounds import (
    MOST_ROW_GROUPS,
    open_part,
    refuse_bomb,
    refuse_size,
    refuse_wide_rows,
)
from tutelage.targets.encoding import LoadedPart, TargetEncoder
from tutelage.targets.manifest import Manifest, Part
from tutelage.targets.rows import ContentIds

METADATA_KEY = b"tutelage"
"""Where a part repeats what its rows depend on, so that it can be understood, and recognised,
alone."""

UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)
"""What reading a Parquet file raises where it is none, or is none of ours."""


def write_part(
    folder: Path,
    name: str,
    *,
    manifest: Manifest,
    encoder: TargetEncoder,
    ids: ContentIds,
    rows: Sequence[Any],
) -> Part:
    """Write packed rows as one Parquet file: under a temporary name, synced, renamed.

    Rows are sorted by id, so the same rows make the same file whatever order they came in.

    Returns:
        The entry for the manifest.
    """
    order = np.argsort(ids)
    table = encoder.encode(ids[order], [rows[place] for place in order])
    identity = json.dumps({"format": manifest.format, **manifest.identity}, ensure_ascii=False)
    content = encoder.write(table, {METADATA_KEY: identity.encode()})
    atomic_write_bytes(folder / name, content)
    return Part(
        file=name,
        rows=len(ids),
        positions=encoder.positions(rows),
        bytes=len(content),
        sha256=sha256(content).hexdigest(),
    )


def read_part(
    folder: Path, part: Part, *, manifest: Manifest, encoder: TargetEncoder
) -> LoadedPart:
    """The rows of one part, checked byte by byte against the manifest.

    Returns:
        Its ids, in the order of the file, and the way to its targets.

    Raises:
        TargetsCorrupt: The file is missing, damaged, or not what the manifest says; the message
            names it.
        TargetsError: The system does not let us read it.
    """
    path, rows = folder / part.file, f"{part.rows:,} rows"
    with open_part(path, rows=rows) as file:
        size = os.fstat(file.fileno()).st_size
        if size != part.bytes:
            raise TargetsCorrupt(
                f"{path} is damaged: it has {size:,} bytes, not the {part.bytes:,} written ({rows})"
            )
        try:
            refuse_size(size, lazy=encoder.lazy)
            # Unless the part stays on disk, the very bytes that were checked are parsed.
            content = None if encoder.lazy else file.read(size)
            digest = file_digest(file, sha256) if content is None else sha256(content)
        except OSError as error:
            raise TargetsError(
                f"{path} cannot be read ({error.strerror or error}). Look at the disk"
            ) from error
        except TargetsCorrupt as error:
            raise TargetsCorrupt(f"{path} {error}") from error
    if digest.hexdigest() != part.sha256:
        raise TargetsCorrupt(
            f"{path} is damaged: its SHA-256 is {digest.hexdigest()[:12]}..., not "
            f"{part.sha256[:12]}... as written ({rows})"
        )
    try:
        loaded = _loaded(path, content, size, manifest=manifest, encoder=encoder)
    except TargetsCorrupt as error:
        raise TargetsCorrupt(f"{path} {error}") from error
    except UNREADABLE as error:
        raise TargetsCorrupt(f"{path} is not readable as Parquet ({error})") from error
    found = (len(loaded.ids), loaded.positions)
    if found != (part.rows, part.positions):
        raise TargetsCorrupt(
            f"{path} holds {found[0]:,} rows and {found[1]:,} positions; the manifest says "
            f"{part.rows:,} and "
            f"{part.positions:,}"
        )
    return loaded


def _loaded(
    path: Path, content: bytes | None, size: int, *, manifest: Manifest, encoder: TargetEncoder
) -> LoadedPart:
    """A part whose checksum is right, from its bytes or where it lies."""
    # A part is too small for threads to help.
    with pq.ParquetFile(
        path if content is None else pa.BufferReader(content),
        memory_map=True,
        thrift_string_size_limit=2 * MOST_JSON_BYTES,
        thrift_container_size_limit=MOST_ROW_GROUPS,
    ) as file:
        _refuse_other_identity(file.schema_arrow.metadata or {}, manifest)
        lazy = encoder.schema.names[1:] if encoder.lazy else ()
        with _mapped(path, content) as bytes_of_part:
            refuse_bomb(bytes_of_part, file.metadata, names=encoder.schema.names, lazy=lazy)
        loaded = encoder.load(file, str(path))
    refuse_wide_rows(loaded.elements, size=size)
    return loaded


@contextmanager
def _mapped(path: Path, content: bytes | None) -> Iterator[bytes | mmap.mmap]:
    """The bytes of a part, without reading those that lie on disk."""
    if content is not None:
        yield content
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _refuse_other_identity(metadata: Mapping[bytes, bytes], manifest: Manifest) -> None:
    """A part carries what its rows depend on: a manifest edited by hand or moved between stores is
    noticed.
    """
    if METADATA_KEY not in metadata:  # written by another program; its checksum speaks for it
        return
    try:
        identity = parse_json(metadata[METADATA_KEY])
    except ValueError as error:
        raise TargetsCorrupt(f"does not say what its rows depend on ({error})") from error
    if not isinstance(identity, dict):
        raise TargetsCorrupt("does not say what its rows depend on")
    if differences := manifest.differences(identity):
        raise TargetsCorrupt(
            f"belongs to another store, or the manifest was edited: {'; '.join(differences)} as in "
            "the part"
        )


def advice(folder: Path) -> str:
    """What to do about parts that cannot be used."""
    return (
        f"Remove what is left of the parts named here, keep {folder / 'manifest.json'}, and run: "
        "tutelage label "
        "recipe.yaml (only their rows are labelled again)"
    )


_MEMORY_OF_DISK = 3
"""Packed rows take about so many times what their part takes on disk; more where a teacher is very
sure."""
_MEMORY_OF_POSITION = 10
"""Bytes of a packed position with a single entry."""


@dataclass(frozen=True, slots=True)
class PartSize:
    """When a part is full."""

    rows: int
    """Of so many rows."""
    memory: int
    """Or of so many bytes of packed rows, which are estimated once they are on disk."""

    def filled(self, parts: Sequence[Part]) -> float:
        """The share of a full part that these would make."""
        rows = sum(part.rows for part in parts)
        packed = (
            max(_MEMORY_OF_DISK * part.bytes, _MEMORY_OF_POSITION * part.positions)
            for part in parts
        )
        return max(rows / self.rows, sum(packed) / self.memory)

    def small(self, parts: Sequence[Part]) -> list[Part]:
        """Parts less than half full: any two of them fit into one."""
        return [part for part in parts if self.filled([part]) < 0.5]

    def fitting(self, parts: Sequence[Part]) -> list[Part]:
        """Those of these, from the first on, that fit into one part together."""
        chosen: list[Part] = []
        for part in parts:
            if self.filled([*chosen, part]) <= 1:
                chosen.append(part)
        return chosen


def join_parts(
    folder: Path, file: str, parts: Sequence[Part], *, manifest: Manifest, encoder: TargetEncoder
) -> Manifest:
    """Write the rows of some parts as one part; the old files stay for the caller to remove.

    Args:
        folder: Of the store.
        file: Name of the new part.
        parts: Of the manifest, at least one.
        manifest: Of the store.
        encoder: Of its kind.

    Returns:
        The manifest with the new part in the place of the old ones, not yet on disk.

    Raises:
        TargetsCorrupt: A part is damaged; nothing has changed.
    """
    try:
        loaded = [read_part(folder, part, manifest=manifest, encoder=encoder) for part in parts]
        rows = [row for part in loaded for row in part.packed(np.arange(len(part.ids)))]
    except TargetsCorrupt as error:
        raise TargetsCorrupt(f"{error}. {advice(folder)}") from error
    ids = np.concatenate([part.ids for part in loaded])
    whole = write_part(folder, file, manifest=manifest, encoder=encoder, ids=ids, rows=rows)
    kept = [part for part in manifest.parts if part not in parts]
    return replace(manifest, parts=(*kept, whole))
