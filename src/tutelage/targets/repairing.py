"""A store of soft targets of which parts were damaged: they are put aside, so that the next
labelling writes their rows again and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tutelage.errors import TargetsCorrupt, TargetsError
from tutelage.runs import lock
from tutelage.runs.contents import remove
from tutelage.targets.checking import verify
from tutelage.targets.encoding import encoder_of
from tutelage.targets.manifest import Part, read_manifest, write_manifest
from tutelage.targets.parts import read_part

BROKEN = ".broken"
"""What a part that was put aside is called behind its name."""


@dataclass(frozen=True, slots=True)
class StoreRepair:
    """What was wrong with a store, and what became of it."""

    store: Path
    problems: tuple[str, ...]
    parts: tuple[Part, ...]
    """Those that are out of the store now."""
    left: tuple[str, ...] = ()
    """Problems that are still there."""


def repair(store: Path, *, dry_run: bool = False) -> StoreRepair:
    """Take the damaged parts out of a store; each that is still there is kept beside it as
    `PART.broken`.

    Args:
        store: Its folder.
        dry_run: Only find them.

    Raises:
        TargetsError: The manifest is lost, damaged or of another format version: without it no part
            can be trusted.
    """
    with lock(store, reading=dry_run):
        manifest = read_manifest(store)
        problems = tuple(verify(store))
        if not problems:
            return StoreRepair(store, (), ())
        encoder = encoder_of(store, manifest)
        broken = []
        for part in manifest.parts:
            try:
                read_part(store, part, manifest=manifest, encoder=encoder)
            except (TargetsCorrupt, TargetsError):
                broken.append(part)
        if dry_run:
            return StoreRepair(store, problems, tuple(broken), problems)
        whole = tuple(part for part in manifest.parts if part not in broken)
        write_manifest(store, replace(manifest, parts=whole, complete=False))
        for part in broken:
            aside = store / f"{part.file}{BROKEN}"
            if (store / part.file).exists():
                remove(aside)
                (store / part.file).replace(aside)
        return StoreRepair(store, problems, tuple(broken), tuple(verify(store)))
