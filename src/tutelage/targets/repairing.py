"""A run's own store that was damaged since: whether it can still be read, and what of it must be
written again.
"""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import TargetsCorrupt, TargetsError
from tutelage.targets.manifest import read_manifest
from tutelage.targets.parts import read_part
from tutelage.targets.reader import TargetStore, encoder_of
from tutelage.types import Progress


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
    except TargetsError:
        return
    encoder = encoder_of(targets, manifest)
    for part in manifest.parts:
        try:
            read_part(targets, part, manifest=manifest, encoder=encoder)
        except TargetsCorrupt as error:
            progress.say(f"{error}: these rows are labelled again")
            (targets / part.file).unlink(missing_ok=True)
