"""A store that is there already: what it holds, what a kill left behind in it, and what of it was
damaged since and must be written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tutelage.errors import TargetsCorrupt, TargetsError, TargetsMismatch
from tutelage.targets.checking import verify
from tutelage.targets.encoding import encoder_of
from tutelage.targets.manifest import (
    FILE,
    PART_NAME,
    TEMPORARY,
    Manifest,
    read_manifest,
    write_manifest,
)
from tutelage.targets.parts import advice, read_part
from tutelage.targets.reader import TargetStore
from tutelage.targets.rows import from_ids
from tutelage.types import Progress


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
            _remove(found)


def _remove(path: Path) -> None:
    """Remove a file, or an empty folder in the place of one.

    Raises:
        TargetsError: A folder with something in it, which is not ours to remove.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        path.rmdir()
    except OSError as error:
        raise TargetsError(
            f"{path} is a folder with something in it, where a file of soft targets belongs. Move "
            "it away"
        ) from error


def open_whole(targets: Path, *, teacher: str | None) -> TargetStore | None:
    """A store that was finished, its checksums verified; None if it cannot be read any more, or is
    another teacher's.

    Labelling is then asked for again, which fills in what is missing and refuses what is not its
    own.

    Args:
        targets: The store's folder.
        teacher: The fingerprint under which it was written; None where nobody kept it.
    """
    try:
        return TargetStore.open(targets, teacher=teacher)
    except TargetsError:
        return None


def remove_broken_parts(targets: Path, progress: Progress) -> None:
    """Remove the parts of a run's own targets that were damaged since, so that their rows are
    labelled again.
    """
    try:
        manifest = read_manifest(targets)
        encoder = encoder_of(targets, manifest)
    except TargetsError:
        return
    for part in manifest.parts:
        try:
            read_part(targets, part, manifest=manifest, encoder=encoder)
        except TargetsCorrupt as error:
            progress.say(f"{error}: these rows are labelled again")
            _remove(targets / part.file)


def refuse_other_store(targets: Path, copies: Mapping[str, str]) -> None:
    """Refuse to mend a run's targets where somebody put other ones in their place.

    Args:
        targets: The store's folder, whose manifest is not what the run wrote.
        copies: Texts that the run keeps of it, by path relative to the run.

    Raises:
        TargetsMismatch: What lies there is a whole store, with parts that the run never wrote.
    """
    own = copies.get(f"{targets.name}/{FILE}", "")
    try:
        parts = read_manifest(targets).parts
        is_whole = bool(parts) and not verify(targets)
    except TargetsError:
        return
    if is_whole and not any(part.sha256 in own for part in parts):
        raise TargetsMismatch(
            f"{targets} holds whole targets that this run did not write, and they are left as they "
            "are. Move them to another place, and run again: the run's own are then written anew"
        )
