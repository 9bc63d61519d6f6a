"""Reading a target store: refuse what is wrong, then find soft targets by content id."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TargetsCorrupt, TargetsIncomplete, TargetsMismatch
from tutelage.targets.bounds import batches, refuse_heap
from tutelage.targets.encoding import LoadedPart, Movable, TargetEncoder, encoder_of
from tutelage.targets.manifest import Manifest, named, read_manifest
from tutelage.targets.output_matrix import OutputMatrix, output_problem, read_output_matrix
from tutelage.targets.parts import advice, read_part
from tutelage.targets.rows import ContentIds, as_ids, from_ids, no_ids

KEPT_IN_MEMORY = 2**30
"""Bytes of parts that a store holds in memory before it unfolds others into a file."""
_SHOWN_IDS = 3
_ROWS_AT_A_TIME = 256


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Where every row of a store lies."""

    ids: ContentIds = field(default_factory=no_ids)
    """Content ids, sorted."""
    owners: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The place in `parts` of the part that holds each."""
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The row of that part."""
    parts: tuple[LoadedPart, ...] = ()
    """Those that can be used."""
    broken: tuple[str, ...] = ()
    """A message for each that cannot."""


class TargetStore:
    """Soft targets of many examples, found by content id; order, batches and packing never matter.

    The store is a snapshot: rows that a writer adds later are seen by the next `open`. Targets are
    decoded when they are looked up. Until then those of tokens take about three times in memory
    what they take on disk, up to `KEPT_IN_MEMORY`; what is beyond lies in a nameless file beside
    the store, which is gone with the process. Hidden states stay on disk.
    """

    def __init__(self, path: Path, manifest: Manifest, index: Index) -> None:
        """Use `TargetStore.open`."""
        self.path = path
        """The folder."""
        self.manifest = manifest
        """What the store says of itself."""
        self._index = index
        self._encoder = encoder_of(path, manifest)

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
            TargetsCorrupt: A part is missing, damaged or not what the manifest says; every such
                part is named.
            TargetsError: Another format version.

        Example:
            >>> store = TargetStore.open("runs/reviews/targets")  # doctest: +SKIP
            >>> store.lookup([example.example_id for example in examples])  # doctest: +SKIP
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        _refuse_mismatch(folder, manifest, teacher=teacher, labels=labels, tokenizer=tokenizer)
        if not allow_incomplete:
            _refuse_incomplete(folder, manifest)
        manifest, index = read_index(folder, manifest)
        if not allow_incomplete:
            _refuse_incomplete(folder, manifest)
        if index.broken:
            raise TargetsCorrupt(f"{'; '.join(index.broken)}. {advice(folder)}")
        return cls(folder, manifest, index)

    def require(
        self,
        *,
        teacher: str | None = None,
        labels: Sequence[str] | None = None,
        tokenizer: str | None = None,
    ) -> None:
        """Refuse a store that is open already as `open` would; nothing is read again.

        Raises:
            TargetsMismatch: Another teacher, label list or tokenizer.
        """
        _refuse_mismatch(
            self.path, self.manifest, teacher=teacher, labels=labels, tokenizer=tokenizer
        )

    @property
    def index(self) -> Index:
        """Where its rows lie."""
        return self._index

    def lookup(self, ids: Sequence[bytes]) -> Any:
        """The soft targets of examples or documents, one after the other.

        100,000 rows of class probabilities take a tenth of a second, and 200,000 positions of token
        targets a second.

        Args:
            ids: N content ids (`Example.example_id`, `Document.example_id`); the same id may come
                more than once.

        Returns:
            For class probabilities: at temperature 1, float32 `[N, C]`, a copy. For tokens: a list
                of N
            `SparseTargets` or `HiddenTargets`.

        Raises:
            TargetsIncomplete: Ids without targets: how many, and the first of them.
            TargetsCorrupt: A part contradicts itself, or hidden states changed on disk since the
                store was opened.
        """
        ids = list(ids)
        places, found = self._find(as_ids(ids))
        if not found.all():
            absent = list(dict.fromkeys(ids[row] for row in np.flatnonzero(~found)))
            shown = ", ".join(name.hex() for name in absent[:_SHOWN_IDS]) + (
                ", ..." if len(absent) > _SHOWN_IDS else ""
            )
            what = "texts" if self.manifest.kind == "class_probabilities" else "documents"
            raise TargetsIncomplete(
                f"{self.path} has no targets for {len(absent):,} of the {len(set(ids)):,} {what} "
                "asked for (content "
                f"ids {shown}): they were changed or added after labelling. Label them too: "
                "tutelage label recipe.yaml"
            )
        return self._encoder.gather(
            self._index.parts, self._index.owners[places], self._index.rows[places]
        )

    def output_matrix(self) -> OutputMatrix:
        """What turns the states of a `hidden` store into logits, read from disk.

        Raises:
            ValueError: A store of another kind.
            TargetsCorrupt: The file changed since the store was opened.
        """
        if self.manifest.kind != "hidden":
            raise ValueError(
                f"{self.path} holds targets of kind {self.manifest.kind}, which need no output "
                "matrix; expected hidden"
            )
        return read_output_matrix(self.path)

    def packed(self, ids: Sequence[bytes]) -> Iterator[tuple[list[bytes], Sequence[Any]]]:
        """Rows that the store holds, some at a time, as they lie on disk: `TargetWriter.add_packed`
        takes them.
        """
        places, _ = self._find(as_ids(ids))
        owners, rows = self._index.owners[places], self._index.rows[places]
        for owner in np.unique(owners):
            mine = np.flatnonzero(owners == owner)
            part = self._index.parts[owner]
            for some in batches(part.elements[rows[mine]], rows=_ROWS_AT_A_TIME):
                chosen = mine[some]
                yield [ids[place] for place in chosen], part.packed(rows[chosen])

    @property
    def ids(self) -> list[bytes]:
        """The content id of every row, sorted."""
        return from_ids(self._index.ids)

    def batches(self) -> Iterator[list[bytes]]:
        """The content ids of all rows in order, as many at a time as are looked up in little
        memory.
        """
        ids, index = self.ids, self._index
        elements = np.zeros(len(ids), np.int64)
        for owner, part in enumerate(index.parts):
            here = index.owners == owner
            elements[here] = part.elements[index.rows[here]]
        for some in batches(elements, rows=_ROWS_AT_A_TIME):
            yield ids[some[0] : some[-1] + 1]

    def __contains__(self, name: bytes) -> bool:
        """Whether an example has targets."""
        return bool(self._find(as_ids([name]))[1][0])

    def holds(self, ids: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which of N content ids have targets, [N]."""
        return self._find(as_ids(list(ids)))[1]

    def __len__(self) -> int:
        """Rows in the store."""
        return len(self._index.ids)

    def _find(self, wanted: ContentIds) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where each id lies, and whether it is there at all."""
        known = self._index.ids
        if not len(known):
            return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
        places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return places, known[places] == wanted


def read_index(folder: Path, manifest: Manifest) -> tuple[Manifest, Index]:
    """Where all rows of a store lie, and what is wrong with parts that cannot be used.

    A process that writes the store may put parts together meanwhile: what is missing then is looked
    for where the manifest says now.

    Returns:
        The manifest that this is true of, and the index.

    Raises:
        TargetsMismatch: The store was replaced by another one meanwhile.
        TargetsIncomplete: It was removed.
        TargetsCorrupt: The manifest cannot be read.
    """
    while True:
        index = _index_of(folder, manifest, encoder_of(folder, manifest))
        if not index.broken:
            return manifest, index
        now = read_manifest(folder)
        if differences := manifest.differences(now.identity):
            raise TargetsMismatch(
                f"{folder} was replaced while it was read: its {'; its '.join(differences)} now"
            )
        if set(manifest.parts) <= set(
            now.parts
        ):  # what is broken has not been put together with others
            return manifest, index
        manifest = now


def _index_of(folder: Path, manifest: Manifest, encoder: TargetEncoder) -> Index:
    broken: list[str] = []
    if manifest.kind == "hidden":
        problem = output_problem(folder, manifest)
        broken += [problem] if problem else []
    parts, files, held = [], [], 0
    with closing(_Beside(folder)) as beside:
        for part in manifest.parts:
            try:
                loaded = read_part(folder, part, manifest=manifest, encoder=encoder)
            except TargetsCorrupt as error:
                broken.append(str(error))
                continue
            held += loaded.nbytes
            if held > KEPT_IN_MEMORY:
                beside.take(loaded)
            parts.append(loaded)
            files.append(part.file)
            try:
                refuse_heap(held, size=manifest.bytes)
            except TargetsCorrupt as error:
                broken.append(f"{folder}: {error}")
                break
    ids = np.concatenate([no_ids(), *(part.ids for part in parts)])
    sizes = [len(part.ids) for part in parts]
    owners = np.repeat(np.arange(len(parts)), sizes)
    rows = np.concatenate([np.zeros(0, np.int64), *map(np.arange, sizes)])
    order = np.argsort(ids, kind="stable")
    ids, owners, rows = ids[order], owners[order], rows[order]
    repeated = np.flatnonzero(ids[1:] == ids[:-1])
    if repeated.size:
        later = sorted({files[owner] for owner in owners[repeated + 1]})
        broken.append(
            f"{', '.join(str(folder / file) for file in later)}: {repeated.size:,} rows that "
            "another part, or the "
            "same, holds too"
        )
    return Index(ids, owners, rows, tuple(parts), tuple(broken))


class _Beside:
    """A file without a name beside a store, for what does not fit into memory; none where the
    folder cannot be written, or has no room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._moved: list[Movable] = []
        self._may = True

    def take(self, part: LoadedPart) -> None:
        """Move what a part holds into the file, where that can be done."""
        if not self._may or not isinstance(part, Movable):
            return
        try:
            if self._file is None:
                self._file = TemporaryFile(  # noqa: SIM115 - `close` ends it
                    "w+b", dir=self._folder, prefix=".unfolded-", suffix=".tmp"
                )
            part.move_to(self._file)
        except OSError:  # it stays in memory, as all of a store did before
            self._may = False
        else:
            self._moved.append(part)

    def close(self) -> None:
        """Let the parts find what they moved; the file lives as long as they do."""
        if self._file is None:
            return
        # What was moved is written out already; a write that was refused may still be waiting, and
        # would be tried once more by whatever closes or asks.
        if self._moved and os.fstat(self._file.fileno()).st_size:
            content = memoryview(mmap(self._file.fileno(), 0, access=ACCESS_READ))
            for part in self._moved:
                part.found_in(content)
        with suppress(OSError):
            self._file.close()


def _refuse_incomplete(folder: Path, manifest: Manifest) -> None:
    if not manifest.complete:
        of_all = f" of {manifest.expected_rows:,}" if manifest.expected_rows else ""
        raise TargetsIncomplete(
            f"{folder} holds {manifest.rows:,}{of_all} rows: labelling has not finished. Go on "
            "where it was: "
            "tutelage label recipe.yaml (what is there is kept)"
        )


def _refuse_mismatch(
    folder: Path,
    manifest: Manifest,
    *,
    teacher: str | None,
    labels: Sequence[str] | None,
    tokenizer: str | None,
) -> None:
    again = "Label again into another folder: tutelage label recipe.yaml"
    if teacher is not None and manifest.teacher != teacher:
        raise TargetsMismatch(
            f"{folder} was written by teacher {manifest.teacher} but targets of teacher {teacher} "
            "are asked for. "
            f"{again}"
        )
    if tokenizer is not None and manifest.tokenizer != tokenizer:
        raise TargetsMismatch(
            f"{folder} was written for tokenizer {manifest.tokenizer or '(none)'} "
            f"({manifest.vocabulary_size:,} ids) "
            f"but tokenizer {tokenizer} is used, whose ids name other words. {again}"
        )
    if labels is not None and manifest.labels != tuple(labels):
        order = (
            ", the same ones in another order" if sorted(manifest.labels) == sorted(labels) else ""
        )
        raise TargetsMismatch(
            f"{folder} was written for the labels {named(manifest.labels)} but "
            f"{named(labels)} are asked "
            f"for{order}. Put the labels of the recipe back as they were, or label again into "
            "another folder: "
            "tutelage label recipe.yaml"
        )
