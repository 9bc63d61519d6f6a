"""The folder of a store: what may lie in it, and leaving alone what is no store."""

from __future__ import annotations

import re
from pathlib import Path

from tutelage.errors import TargetsCorrupt, TargetsError
from tutelage.runs import LOCK_FILE
from tutelage.targets.manifest import FILE, OUTPUT_FILE, PART_NAME

TEMPORARY = re.compile(r"\.(manifest\.json|output\.safetensors|part-\d{5,}\.parquet)\..*\.tmp")
"""Names of files that a kill left half written."""


def refuse_other_things(folder: Path) -> None:
    """A folder that is no store is left alone: not a file of it is touched."""
    if not folder.exists() or (folder / FILE).exists():
        return
    if not folder.is_dir():
        raise TargetsError(
            f"{folder} is a file; expected a folder for soft targets. Give another path"
        )
    other = sorted(
        found.name
        for found in folder.iterdir()
        if found.name not in (LOCK_FILE, OUTPUT_FILE) and not TEMPORARY.fullmatch(found.name)
    )
    if other and all(PART_NAME.fullmatch(name) for name in other):
        raise TargetsCorrupt(
            f"{folder} holds {len(other):,} parts but no {FILE}, without which they cannot be "
            "trusted. Restore it "
            "from a copy, or move the folder away and label again"
        )
    if other:
        raise TargetsError(
            f"{folder} holds other files "
            f"({', '.join(other[:3])}{', ...' if len(other) > 3 else ''}) and no {FILE}, "
            "so it is no store of soft targets and is left as it is. Give a new or empty folder"
        )
