"""Several stores as one: what processes labelled side by side is put together without being
decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.errors import TargetsError, TargetsMismatch
from tutelage.runs import atomic_write_bytes, storing
from tutelage.runs.storage import require_utf8
from tutelage.targets.manifest import FILE, OUTPUT_FILE, read_manifest, refuse_other_things
from tutelage.targets.output_matrix import output_digest
from tutelage.targets.reader import TargetStore
from tutelage.targets.writer import TargetWriter
from tutelage.types import SILENT, Progress


def merge(
    sources: Sequence[Path | str], out: Path | str, *, progress: Progress = SILENT
) -> TargetStore:
    """Put the rows of several stores into one; a row that more than one holds is taken once, from
    the first.

    Targets are moved as they lie on disk, so what is looked up is bit for bit what the sources
    hold. A kill loses no more than when labelling: merge again to go on.

    Args:
        sources: Folders of complete stores, at least one.
        out: Folder of the merged store; new, empty, or a store of the same identity to which the
            rows are added.
        progress: Told about the rows.

    Returns:
        The merged store.

    Raises:
        ValueError: There are no sources.
        TargetsMismatch: Stores of different teachers, tokenizers, labels, encodings or seeds; each
            difference is named.
        TargetsIncomplete: A source is not there or not finished.
        TargetsCorrupt: A source is damaged.
        TargetsError: `out` is one of the sources, or holds other things.
    """
    folder = Path(out)
    if not sources:
        raise ValueError("no stores were given to merge; expected at least one")
    if folder.resolve() in [Path(source).resolve() for source in sources]:
        raise TargetsError(
            f"{folder} was given as a source and as the merged store; give another folder"
        )
    require_utf8(folder)
    stores = [TargetStore.open(source) for source in sources]
    first = stores[0].manifest
    others = [(store.path, store.manifest) for store in stores[1:]]
    with storing(folder):
        is_there = (folder / FILE).exists()
    if is_there:
        others.append((folder, read_manifest(folder)))
    for path, manifest in others:
        if differences := first.differences(manifest.identity):
            raise TargetsMismatch(
                f"{path} cannot be merged with {stores[0].path}, whose "
                f"{'; its '.join(differences)}. Merge stores of "
                "one teacher, tokenizer, encoding and seed only"
            )
    refuse_other_things(folder)
    if first.kind == "hidden" and output_digest(folder) != first.encoding["output_sha256"]:
        atomic_write_bytes(folder / OUTPUT_FILE, (stores[0].path / OUTPUT_FILE).read_bytes())
    with TargetWriter.open(
        folder,
        kind=first.kind,
        teacher=first.teacher,
        labels=first.labels,
        tokenizer=first.tokenizer,
        vocabulary_size=first.vocabulary_size,
        encoding=first.encoding,
        seed=first.seed,
    ) as writer:
        names = list(dict.fromkeys(name for store in stores for name in store.ids))
        lacking = {names[place] for place in writer.missing(names)}
        with progress.bar("Merging", total=len(lacking), unit="rows") as advance:
            for store in stores:
                wanted = [name for name in store.ids if name in lacking]
                for ids, rows in store.packed(wanted):
                    writer.add_packed(ids, rows)
                    advance(len(ids))
                lacking.difference_update(wanted)
        writer.finish()
    return TargetStore.open(folder)
