"""Before a store is written: find what is there, remove what a kill left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tutelage.errors import TargetsCorrupt, TargetsMismatch
from tutelage.targets.folder import TEMPORARY
from tutelage.targets.ids import from_ids
from tutelage.targets.manifest import PART_NAME, Manifest, read_manifest, write_manifest
from tutelage.targets.parts import read_part
from tutelage.targets.reader import advice, encoder_of


def resume(folder: Path, fresh: Manifest) -> tuple[Manifest, set[bytes]]:
    """The manifest of a store that is there already, and the ids it holds."""
    manifest = read_manifest(folder)
    if differences := manifest.differences(fresh.identity):
        raise TargetsMismatch(
            f"{folder} holds targets made with other settings and is left as it is: its "
            f"{'; its '.join(differences)} "
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
        if TEMPORARY.fullmatch(found.name) or (
            PART_NAME.fullmatch(found.name) and found.name not in named
        ):
            found.unlink()
