"""Looking at a target store without using it: its numbers, and whether every part is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.errors import TargetsCorrupt
from tutelage.targets.manifest import read_manifest
from tutelage.targets.reader import advice, encoder_of, read_rows


def verify(path: Path | str) -> list[str]:
    """Check every part of a store: there, whole, readable, made for this store, no row twice.

    An interrupted store is fine: all that it has so far must be whole.

    Args:
        path: Folder of the store.

    Returns:
        One message for each broken part, or one about a broken manifest; empty if all is well.

    Raises:
        TargetsIncomplete: There is no store.
        TargetsError: It has another format version.
    """
    folder = Path(path)
    try:
        manifest = read_manifest(folder)
        return read_rows(folder, manifest, encoder_of(folder, manifest))[2]
    except TargetsCorrupt as error:
        return [str(error)]


def inspect(path: Path | str) -> dict[str, Any]:
    """What a store holds, in numbers; an interrupted store too.

    Args:
        path: Folder of the store.

    Returns:
        `kind`, `rows`, `positions` (distributions), `bytes` (of the parts), `bytes_per_position` and
        `mean_entropy_nats` (None while there are no rows), `kept_mass` (mean probability that is stored: 1.0 where
        distributions are whole), `teacher`, `tokenizer`, `complete`.

    Raises:
        TargetsIncomplete: There is no store.
        TargetsCorrupt: A part is missing or damaged.
        TargetsError: It has another format version.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    encoder = encoder_of(folder, manifest)
    _, values, broken = read_rows(folder, manifest, encoder)
    if broken:
        raise TargetsCorrupt(f"{'; '.join(broken)}. {advice(folder)}")
    positions = manifest.positions
    return {
        "kind": manifest.kind,
        "rows": manifest.rows,
        "positions": positions,
        "bytes": manifest.bytes,
        "bytes_per_position": manifest.bytes / positions if positions else None,
        "mean_entropy_nats": float(encoder.entropies(values).mean()) if positions else None,
        "kept_mass": 1.0,
        "teacher": manifest.teacher,
        "tokenizer": manifest.tokenizer,
        "complete": manifest.complete,
    }
