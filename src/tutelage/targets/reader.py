"""Reading a target store: refuse what is wrong, then find soft targets by content id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt, TargetsIncomplete, TargetsMismatch
from tutelage.targets.encoding import Ids, TargetEncoder, as_ids, encoder_for, no_ids
from tutelage.targets.manifest import Manifest, read_manifest
from tutelage.targets.parts import read_part

_SHOWN_IDS = 3


class TargetStore:
    """Soft targets of many examples, found by content id; order, batches and packing never matter.

    The store is a snapshot: rows that a writer adds later are seen by the next `open`.
    """

    def __init__(self, path: Path, manifest: Manifest, ids: Ids, values: NDArray[np.float32]) -> None:
        """Use `TargetStore.open`; ids come sorted and distinct."""
        self.path = path
        """The folder."""
        self.manifest = manifest
        """What the store says of itself."""
        self._ids, self._values = ids, values

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        teacher: str | None = None,
        labels: Sequence[str] | None = None,
        tokenizer: str | None = None,
        allow_incomplete: bool = False,
    ) -> Self:
        """Open a store, with every checksum verified.

        Args:
            path: Folder of the store.
            teacher: The fingerprint the targets must come from; None takes any.
            labels: The class names they must be for, in order; None takes any.
            tokenizer: The fingerprint of the tokenizer whose ids they must name; None takes any.
            allow_incomplete: Also open a store whose labelling has not finished.

        Raises:
            TargetsIncomplete: There is no store, or labelling has not finished.
            TargetsMismatch: Another teacher, label list or tokenizer.
            TargetsCorrupt: A part is missing, damaged or not what the manifest says; every such part is named.
            TargetsError: Another format version.

        Example:
            >>> store = TargetStore.open("runs/reviews/targets")  # doctest: +SKIP
            >>> store.lookup([example.example_id for example in examples])  # doctest: +SKIP
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        _refuse_mismatch(folder, manifest, teacher=teacher, labels=labels, tokenizer=tokenizer)
        if not manifest.complete and not allow_incomplete:
            of_all = f" of {manifest.expected_rows:,}" if manifest.expected_rows else ""
            raise TargetsIncomplete(
                f"{folder} holds {manifest.rows:,}{of_all} rows: labelling has not finished. Go on where it was: "
                "tutelage label recipe.yaml (what is there is kept)"
            )
        ids, values, broken = read_rows(folder, manifest, encoder_of(folder, manifest))
        if broken:
            raise TargetsCorrupt(f"{'; '.join(broken)}. {advice(folder)}")
        return cls(folder, manifest, ids, values)

    def lookup(self, ids: Sequence[bytes]) -> NDArray[np.float32]:
        """The soft targets of examples, row by row; 100,000 rows take a tenth of a second.

        Args:
            ids: N content ids (`Example.example_id`); the same id may come more than once.

        Returns:
            Probabilities at temperature 1, float32 `[N, C]`, a copy.

        Raises:
            TargetsIncomplete: Ids without targets: how many, and the first of them.
        """
        ids = list(ids)
        places, found = self._find(as_ids(ids))
        if not found.all():
            absent = list(dict.fromkeys(ids[row] for row in np.flatnonzero(~found)))
            shown = ", ".join(name.hex() for name in absent[:_SHOWN_IDS]) + (
                ", ..." if len(absent) > _SHOWN_IDS else ""
            )
            raise TargetsIncomplete(
                f"{self.path} has no targets for {len(absent):,} of the {len(set(ids)):,} texts asked for (content "
                f"ids {shown}): they were changed or added after labelling. Label them too: tutelage label recipe.yaml"
            )
        return self._values[places]

    def __contains__(self, name: bytes) -> bool:
        """Whether an example has targets."""
        return bool(self._find(as_ids([name]))[1][0])

    def __len__(self) -> int:
        """Rows in the store."""
        return len(self._ids)

    def _find(self, wanted: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where each id lies, and whether it is there at all."""
        if not len(self._ids):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
        places = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        return places, self._ids[places] == wanted


def read_rows(folder: Path, manifest: Manifest, encoder: TargetEncoder) -> tuple[Ids, NDArray[Any], list[str]]:
    """All rows of a store, sorted by id, and a message for each part that cannot be used."""
    broken: list[str] = []
    ids, values, origins = [no_ids()], [encoder.empty()], []
    for number, part in enumerate(manifest.parts):
        try:
            part_ids, part_values = read_part(folder, part, manifest=manifest, encoder=encoder)
        except TargetsCorrupt as error:
            broken.append(str(error))
            continue
        ids.append(part_ids)
        values.append(part_values)
        origins.append(np.full(len(part_ids), number))
    all_ids = np.concatenate(ids)
    order = np.argsort(all_ids, kind="stable")
    sorted_ids = all_ids[order]
    repeated = np.flatnonzero(sorted_ids[1:] == sorted_ids[:-1])
    if repeated.size:
        owner = np.concatenate(origins)
        later = sorted({manifest.parts[number].file for number in owner[order[repeated + 1]]})
        broken.append(
            f"{', '.join(str(folder / file) for file in later)}: {repeated.size:,} rows that another part, or the "
            "same, holds too"
        )
    return sorted_ids, np.concatenate(values)[order], broken


def encoder_of(folder: Path, manifest: Manifest) -> TargetEncoder:
    """The encoder of a store.

    Raises:
        TargetsCorrupt: The manifest names a kind or labels that this version cannot read.
    """
    try:
        return encoder_for(manifest.kind, labels=manifest.labels)
    except ValueError as error:
        raise TargetsCorrupt(f"{folder} cannot be read: {error}") from error


def advice(folder: Path) -> str:
    """What to do about parts that cannot be used."""
    return (
        f"Remove what is left of the parts named here, keep {folder / 'manifest.json'}, and run: tutelage label "
        "recipe.yaml (only their rows are labelled again)"
    )


def _refuse_mismatch(
    folder: Path, manifest: Manifest, *, teacher: str | None, labels: Sequence[str] | None, tokenizer: str | None
) -> None:
    again = "Label again into another folder: tutelage label recipe.yaml"
    if teacher is not None and manifest.teacher != teacher:
        raise TargetsMismatch(
            f"{folder} was written by teacher {manifest.teacher} but targets of teacher {teacher} are asked for. "
            f"{again}"
        )
    if tokenizer is not None and manifest.tokenizer != tokenizer:
        raise TargetsMismatch(
            f"{folder} was written for tokenizer {manifest.tokenizer or '(none)'} ({manifest.vocabulary_size:,} ids) "
            f"but tokenizer {tokenizer} is used, whose ids name other words. {again}"
        )
    if labels is not None and manifest.labels != tuple(labels):
        order = ", the same ones in another order" if sorted(manifest.labels) == sorted(labels) else ""
        raise TargetsMismatch(
            f"{folder} was written for the labels {', '.join(manifest.labels)} but {', '.join(labels)} are asked "
            f"for{order}. Put the labels of the recipe back as they were, or label again into another folder: "
            "tutelage label recipe.yaml"
        )
