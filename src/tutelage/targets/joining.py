"""Small parts become large ones, which code the same rows in fewer bytes: their tables of ids are
shared by more.

A slow teacher closes a part every half minute, so that a kill loses little more. Those parts are
put together once they fill a whole one, and when labelling finishes. The manifest names the small
parts or the large one, never both; files that it does not name, which a kill may leave, count for
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tutelage.errors import TargetsCorrupt
from tutelage.targets.encoding import TargetEncoder
from tutelage.targets.manifest import Manifest, Part
from tutelage.targets.parts import read_part, write_part
from tutelage.targets.reader import advice

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
