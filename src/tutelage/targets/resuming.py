"""Before a store is written: leave other folders alone, find what is there, remove what a kill left behind."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from tutelage.errors import TargetsCorrupt, TargetsError, TargetsMismatch
from tutelage.runs import LOCK_FILE
from tutelage.targets.ids import from_ids
from tutelage.targets.manifest import FILE, PART_NAME, Manifest, read_manifest, write_manifest
from tutelage.targets.output_matrix import OUTPUT_FILE
from tutelage.targets.parts import read_part
from tutelage.targets.reader import advice, encoder_of

_TEMPORARY = re.compile(r"\.(manifest\.json|output\.safetensors|part-\d{5,}\.parquet)\..*\.tmp")


def refuse_other_things(folder: Path) -> None:
    """A folder that is no store is left alone: not a file of it is touched."""
    if not folder.exists() or (folder / FILE).exists():
        return
    if not folder.is_dir():
        raise TargetsError(f"{folder} is a file; expected a folder for soft targets. Give another path")
    other = sorted(
        found.name
        for found in folder.iterdir()
        if found.name not in (LOCK_FILE, OUTPUT_FILE) and not _TEMPORARY.fullmatch(found.name)
    )
    if other and all(PART_NAME.fullmatch(name) for name in other):
        raise TargetsCorrupt(
            f"{folder} holds {len(other):,} parts but no {FILE}, without which they cannot be trusted. Restore it "
            "from a copy, or move the folder away and label again"
        )
    if other:
        raise TargetsError(
            f"{folder} holds other files ({', '.join(other[:3])}{', ...' if len(other) > 3 else ''}) and no {FILE}, "
            "so it is no store of soft targets and is left as it is. Give a new or empty folder"
        )


def resume(folder: Path, fresh: Manifest) -> tuple[Manifest, set[bytes]]:
    """The manifest of a store that is there already, and the ids it holds."""
    manifest = read_manifest(folder)
    if differences := manifest.differences(fresh.identity):
        raise TargetsMismatch(
            f"{folder} holds targets made with other settings and is left as it is: its {'; its '.join(differences)} "
            "as asked for now. Write to another folder, or remove this one"
        )
    encoder = encoder_of(folder, manifest)
    kept = tuple(part for part in manifest.parts if (folder / part.file).exists())
    known: set[bytes] = set()
    broken: list[str] = []
    for part in kept:
        try:
            known.update(from_ids(read_part(folder, part, manifest=manifest, encoder=encoder).ids))
        except TargetsCorrupt as error:
            broken.append(str(error))
    if broken:
        raise TargetsCorrupt(f"{'; '.join(broken)}. {advice(folder)}")
    if len(kept) < len(manifest.parts):
        manifest = replace(manifest, parts=kept, complete=False)
        write_manifest(folder, manifest)
    return manifest, known


def remove_strays(folder: Path, manifest: Manifest) -> None:
    """What a kill left behind: temporary files, and parts that never came into the manifest."""
    named = {part.file for part in manifest.parts}
    for found in folder.iterdir():
        if _TEMPORARY.fullmatch(found.name) or (PART_NAME.fullmatch(found.name) and found.name not in named):
            found.unlink()
