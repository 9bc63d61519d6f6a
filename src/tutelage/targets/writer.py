"""Writing a target store: part by part, each one whole or not there, resumable after a kill at any moment."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import RunExists, TargetsCorrupt, TargetsError, TargetsIncomplete, TargetsMismatch
from tutelage.runs import LOCK_FILE, lock
from tutelage.targets.encoding import as_ids, encoder_for, from_ids
from tutelage.targets.manifest import FILE, PART_NAME, Manifest, read_manifest, write_manifest
from tutelage.targets.parts import read_part, write_part
from tutelage.targets.reader import advice, encoder_of

Row = tuple[bytes, NDArray[Any]]

_TEMPORARY = re.compile(r"\.(manifest\.json|part-\d{5,}\.parquet)\..*\.tmp")


@dataclass(frozen=True, slots=True)
class _State:
    """What is on disk and what is in hand, replaced together: Ctrl-C never finds a row in both."""

    manifest: Manifest
    pending: list[Row]


class TargetWriter:
    """A store that is being written; use it as a context manager.

    A part is written under a temporary name, synced, renamed, and then entered in the manifest, which is itself
    replaced atomically. A kill loses at most the rows in hand; opening the store again removes what the manifest does
    not name and goes on. Leaving the context keeps what is in hand, also on Ctrl-C. Only one process writes a store
    at a time.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        known: set[bytes],
        rows_per_part: int,
        seconds_per_part: float,
        clock: Callable[[], float],
        held: ExitStack,
    ) -> None:
        """Use `TargetWriter.open`."""
        self._folder, self._known, self._held = folder, known, held
        self._rows_per_part, self._seconds_per_part, self._clock = rows_per_part, seconds_per_part, clock
        self._encoder = encoder_for(manifest.kind, labels=manifest.labels)
        self._state = _State(manifest, [])
        self._pending_since = 0.0
        self._next_number = 1 + max((_number(part.file) for part in manifest.parts), default=-1)
        self._expected_rows: int | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        kind: str,
        teacher: str,
        labels: Sequence[str] = (),
        tokenizer: str = "",
        vocabulary_size: int = 0,
        encoding: Mapping[str, Any] | None = None,
        seed: int = 0,
        rows_per_part: int = 4096,
        seconds_per_part: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start a store, or go on with one.

        Args:
            path: Folder of the store; made if missing.
            kind: What a target is: `class_probabilities`.
            teacher: Fingerprint of who writes.
            labels: Class names in the order of the probabilities.
            tokenizer: Fingerprint of the tokenizer, for targets over tokens.
            vocabulary_size: Its number of ids.
            encoding: Parameters of the encoder, JSON values.
            seed: Of random draws in the encoding.
            rows_per_part: Rows after which a part is closed, at least 1.
            seconds_per_part: Seconds after which a part is closed, at the next `add`, however small: with a slow
                teacher, a kill loses no more than this.
            clock: Tells the seconds.

        Raises:
            TargetsMismatch: The folder holds targets of another teacher, label list or encoding; each difference is
                named.
            TargetsCorrupt: The manifest or a part is damaged. A part that was removed is no error: its rows are
                missing again.
            TargetsError: The folder holds other things, or another process is writing it.
            ValueError: An unknown kind, or labels that are not at least two different names.
        """
        folder = Path(path)
        if rows_per_part < 1:
            raise ValueError(f"rows_per_part={rows_per_part} was given; expected at least 1")
        fresh = Manifest(
            kind=kind, teacher=teacher, labels=tuple(labels), tokenizer=tokenizer, vocabulary_size=vocabulary_size,
            encoding=dict(encoding or {}), seed=seed,
        )  # fmt: skip
        encoder_for(kind, labels=fresh.labels)
        _refuse_other_things(folder)
        with ExitStack() as held:
            try:
                held.enter_context(lock(folder))
            except RunExists as error:
                raise TargetsError(str(error)) from error
            manifest, known = _resume(folder, fresh) if (folder / FILE).exists() else (fresh, set())
            _remove_strays(folder, manifest)
            if not (folder / FILE).exists():
                write_manifest(folder, manifest)
            return cls(
                folder,
                manifest,
                known=known,
                rows_per_part=rows_per_part,
                seconds_per_part=seconds_per_part,
                clock=clock,
                held=held.pop_all(),
            )

    def missing(self, ids: Sequence[bytes]) -> list[int]:
        """Positions in `ids` of rows the store does not hold yet, in order; of equal ids the first only.

        They count as expected from here on: `finish` refuses until they have been added.
        """
        as_ids(ids)  # refuses what is no id
        positions = self._unknown(ids)
        self._expected_rows = max(self._expected_rows or 0, len(self._known) + len(positions))
        return positions

    def add(self, ids: Sequence[bytes], probs: ArrayLike) -> None:
        """Take rows; they are on disk once their part is closed, or at `flush`.

        Args:
            ids: N content ids of 16 bytes. Rows whose id is already there are passed over: the first word counts.
            probs: `[N, C]`, at temperature 1, each row summing to 1 within 1e-4.

        Raises:
            ShapeMismatch: The two do not fit each other or the labels.
            ValueError: A row is no distribution; it is named, and nothing of this call is taken.
        """
        as_ids(ids)  # refuses what is no id
        values = self._encoder.check(probs, ids=ids)
        if not self._state.pending:
            self._pending_since = self._clock()
        for position in self._unknown(ids):
            self._known.add(ids[position])
            self._state.pending.append((ids[position], values[position].copy()))
        while len(self._state.pending) >= self._rows_per_part:
            self._write(self._rows_per_part)
        if self._clock() - self._pending_since >= self._seconds_per_part:
            self.flush()

    def flush(self) -> None:
        """Close the part in hand, however small: what was added is safe when this returns."""
        if self._state.pending:
            self._write(len(self._state.pending))

    def finish(self) -> None:
        """Close the last part and mark the store complete.

        Raises:
            TargetsIncomplete: Rows that `missing` named have not been added.
        """
        self.flush()
        manifest = self._state.manifest
        rows = manifest.rows
        if rows < (self._expected_rows or 0):
            raise TargetsIncomplete(
                f"{self._folder} holds {rows:,} of {self._expected_rows:,} expected rows. Add those that missing() "
                "names, then finish"
            )
        if not manifest.complete:
            self._enter(replace(manifest, complete=True, expected_rows=rows), pending=[])

    def close(self) -> None:
        """Let another process write the store. What is in hand is not kept: see `flush`."""
        self._held.close()

    def __len__(self) -> int:
        """Rows taken so far, on disk or in hand."""
        return len(self._known)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            self.close()

    def _unknown(self, names: Sequence[bytes]) -> list[int]:
        first: dict[bytes, int] = {}
        for position, name in enumerate(names):
            if name not in self._known:
                first.setdefault(name, position)
        return list(first.values())

    def _write(self, rows: int) -> None:
        """Close a part of the first `rows` in hand."""
        manifest, taken = self._state.manifest, self._state.pending[:rows]
        # A number is never used twice, so a part that Ctrl-C keeps out of the manifest is a stray, never overwritten.
        file = f"part-{self._next_number:05d}.parquet"
        self._next_number += 1
        ids, values = as_ids([name for name, _ in taken]), np.stack([value for _, value in taken])
        part = write_part(self._folder, file, manifest=manifest, encoder=self._encoder, ids=ids, values=values)
        manifest = replace(manifest, parts=(*manifest.parts, part), complete=False, expected_rows=self._expected_rows)
        self._enter(manifest, pending=self._state.pending[rows:])
        self._pending_since = self._clock()

    def _enter(self, manifest: Manifest, *, pending: list[Row]) -> None:
        state = _State(manifest, pending)
        write_manifest(self._folder, manifest)
        self._state = state


def _number(file: str) -> int:
    return int(file.removeprefix("part-").removesuffix(".parquet"))


def _refuse_other_things(folder: Path) -> None:
    """A folder that is no store is left alone: not a file of it is touched."""
    if not folder.exists() or (folder / FILE).exists():
        return
    if not folder.is_dir():
        raise TargetsError(f"{folder} is a file; expected a folder for soft targets. Give another path")
    other = sorted(
        found.name for found in folder.iterdir() if found.name != LOCK_FILE and not _TEMPORARY.fullmatch(found.name)
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


def _resume(folder: Path, fresh: Manifest) -> tuple[Manifest, set[bytes]]:
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
            known.update(from_ids(read_part(folder, part, manifest=manifest, encoder=encoder)[0]))
        except TargetsCorrupt as error:
            broken.append(str(error))
    if broken:
        raise TargetsCorrupt(f"{'; '.join(broken)}. {advice(folder)}")
    if len(kept) < len(manifest.parts):
        manifest = replace(manifest, parts=kept, complete=False)
        write_manifest(folder, manifest)
    return manifest, known


def _remove_strays(folder: Path, manifest: Manifest) -> None:
    """What a kill left behind: temporary files, and parts that never came into the manifest."""
    named = {part.file for part in manifest.parts}
    for found in folder.iterdir():
        if _TEMPORARY.fullmatch(found.name) or (PART_NAME.fullmatch(found.name) and found.name not in named):
            found.unlink()
