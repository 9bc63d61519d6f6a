"""Writing a target store: part by part, each one whole or not there, resumable after a kill at any
moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tutelage.errors import (
    RunExists,
    TargetsCorrupt,
    TargetsError,
    TargetsIncomplete,
    TargetsMismatch,
)
from tutelage.runs import lock, storing
from tutelage.runs.files import link_or_copy
from tutelage.targets.encoding import encoder_for
from tutelage.targets.manifest import (
    FILE,
    Manifest,
    problem_of,
    read_manifest,
    refuse_other_things,
    write_manifest,
)
from tutelage.targets.output_matrix import output_digest, output_shape
from tutelage.targets.parts import PartSize, join_parts, read_part, write_part
from tutelage.targets.resuming import remove_strays, resume
from tutelage.targets.rows import as_ids, from_ids

IdWithTargets = tuple[bytes, Any]
"""A content id and a packed row."""


@dataclass(frozen=True, slots=True)
class _State:
    """What is on disk and what is in hand, replaced together: Ctrl-C never finds a row in both."""

    manifest: Manifest
    pending: list[IdWithTargets]


class TargetWriter:
    """A store that is being written; use it as a context manager.

    A part is written under a temporary name, synced, renamed, and then entered in the manifest,
    which is itself replaced atomically. A kill loses at most the rows in hand; opening the store
    again removes what the manifest does not name and goes on. Leaving the context keeps what is in
    hand, also on Ctrl-C. Small parts of `sampled` and `top_k` are put together, which takes bytes
    away (`targets.parts`). Only one process writes a store at a time.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        known: set[bytes],
        full: PartSize,
        seconds_per_part: float,
        clock: Callable[[], float],
        held: ExitStack,
    ) -> None:
        """Use `TargetWriter.open`."""
        self._folder, self._known, self._held = folder, known, held
        self._full, self._seconds_per_part, self._clock = full, seconds_per_part, clock
        self._encoder = encoder_for(manifest)
        self._state = _State(manifest, [])
        self._pending_since = 0.0
        self._pending_bytes = 0
        self._may_join = True
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
        bytes_per_part: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start a store, or go on with one.

        Args:
            path: Folder of the store; made if missing.
            kind: What a target is: `class_probabilities`, or for tokens `sampled`, `top_k` or
                `hidden`.
            teacher: Fingerprint of who writes.
            labels: Class names in the order of the probabilities.
            tokenizer: Fingerprint of the tokenizer, for targets over tokens.
            vocabulary_size: Its number of ids.
            encoding: Parameters of the encoder, JSON values: for `sampled` `{"threshold": 0.05}` or
                `{"budget": 12}`, for `top_k` `{"k": 50}`, for `hidden` nothing. What this kind does
                not know is kept as it is.
            seed: Of random draws in the encoding.
            rows_per_part: Rows after which a part is closed, at least 1. Parts that are less than
                half full are put together, up to this many rows.
            seconds_per_part: Seconds after which a part is closed, at the next `add`, however
                small: with a slow teacher, a kill loses no more than this.
            bytes_per_part: Bytes in memory after which a part is closed, at least 1.
            clock: Tells the seconds.

        Raises:
            TargetsMismatch: The folder holds targets of another teacher, label list or encoding;
                each difference is named.
            TargetsCorrupt: The manifest or a part is damaged. A part that was removed is no error:
                its rows are missing again.
            TargetsIncomplete: Kind `hidden`, and `write_output_matrix` has not been called.
            TargetsError: The folder holds other things, or another process is writing it.
            StorageError: The file system refuses.
            ValueError: An unknown kind, labels that are not at least two different names, or an
                encoding that the kind cannot have.
        """
        folder = Path(path)
        for name, number in (("rows_per_part", rows_per_part), ("bytes_per_part", bytes_per_part)):
            if number < 1:
                raise ValueError(f"{name}={number} was given; expected at least 1")
        encoding = (
            _with_output(folder, encoding or {}) if kind == "hidden" else dict(encoding or {})
        )
        fresh = Manifest(
            kind=kind, teacher=teacher, labels=tuple(labels), tokenizer=tokenizer,
            vocabulary_size=vocabulary_size,
            encoding=encoding, seed=seed,
        )  # fmt: skip
        if problem := problem_of(fresh):
            raise ValueError(f"the store {problem}, which no reader would take")
        encoder_for(fresh)
        if kind != "class_probabilities" and not tokenizer:
            raise ValueError(
                f"no tokenizer was given for targets of kind {kind}; expected its fingerprint"
            )
        with storing(folder), ExitStack() as held:
            refuse_other_things(folder)
            try:
                held.enter_context(lock(folder))
            except RunExists as error:
                raise TargetsError(str(error)) from error
            manifest, known = resume(folder, fresh) if (folder / FILE).exists() else (fresh, set())
            remove_strays(folder, manifest)
            if not (folder / FILE).exists():
                write_manifest(folder, manifest)
            return cls(
                folder,
                manifest,
                known=known,
                full=PartSize(rows_per_part, bytes_per_part),
                seconds_per_part=seconds_per_part,
                clock=clock,
                held=held.pop_all(),
            )

    def missing(self, ids: Sequence[bytes]) -> list[int]:
        """Positions in `ids` of rows the store does not hold yet, in order; of equal ids the first
        only.

        They count as expected from here on: `finish` refuses until they have been added.
        """
        as_ids(ids)  # refuses what is no id
        positions = self._unknown(ids)
        self._expected_rows = max(self._expected_rows or 0, len(self._known) + len(positions))
        return positions

    def give_up(self, rows: int) -> None:
        """Expect so many rows less: nobody will ever add them."""
        self._expected_rows = max(0, (self._expected_rows or 0) - rows)

    def add(self, ids: Sequence[bytes], values: Any) -> None:
        """Take rows; they are on disk once their part is closed, or at `flush`.

        Args:
            ids: N content ids of 16 bytes. Rows whose id is already there are passed over: the
                first word counts.
            values: For `class_probabilities` an array `[N, C]`, each row summing to 1 within 1e-4;
                for tokens N `SparseTargets` or `HiddenTargets`. At temperature 1.

        Raises:
            ShapeMismatch: The two do not fit each other, the labels or the kind.
            ValueError: A row is no distribution, or no target of this kind; it is named, and
                nothing of this call is taken.
        """
        as_ids(ids)  # refuses what is no id
        self.add_packed(ids, self._encoder.check(values, ids=ids))

    def add_packed(self, ids: Sequence[bytes], rows: Sequence[Any]) -> None:
        """Take rows as another store of the same identity holds them; see `add` and `merge`."""
        if not self._state.pending:
            self._pending_since = self._clock()
        for position in self._unknown(ids):
            self._known.add(ids[position])
            self._state.pending.append((ids[position], rows[position]))
            self._pending_bytes += rows[position].nbytes
            if (
                len(self._state.pending) >= self._full.rows
                or self._pending_bytes >= self._full.memory
            ):
                self._close_part()
        if self._clock() - self._pending_since >= self._seconds_per_part:
            self._close_part()

    def adopt(self, source: Path) -> None:
        """Take the parts of another store as they lie: nothing of them is decoded or written again.

        A part of which a row is there already is taken row by row, one that is damaged not at all.
        The source keeps its files, so that a kill loses nothing.

        Args:
            source: Folder of a store of the same identity, finished or not, on a disk of its own or
                this one's.

        Raises:
            TargetsMismatch: It is of another identity.
            TargetsError: It cannot be read, or is being written.
        """
        with storing(source), ExitStack() as held:
            try:
                held.enter_context(lock(source))
            except RunExists as error:
                raise TargetsError(str(error)) from error
            manifest = read_manifest(source)
            if differences := manifest.differences(self._state.manifest.identity):
                raise TargetsMismatch(
                    f"{source} holds targets made with other settings: its "
                    f"{'; its '.join(differences)} as in {self._folder}"
                )
            for part in manifest.parts:
                try:
                    loaded = read_part(source, part, manifest=manifest, encoder=self._encoder)
                except TargetsCorrupt:
                    continue
                ids = from_ids(loaded.ids)
                new = self._unknown(ids)
                if len(new) < len(ids):
                    self.add_packed([ids[row] for row in new], loaded.packed(np.array(new, int)))
                    continue
                file = self._next_file()
                link_or_copy(source / part.file, self._folder / file)
                self._known.update(ids)
                parts = (*self._state.manifest.parts, replace(part, file=file))
                self._enter(
                    replace(
                        self._state.manifest,
                        parts=parts,
                        complete=False,
                        expected_rows=self._expected_rows,
                    ),
                    pending=self._state.pending,
                )
        self.flush()

    @property
    def is_complete(self) -> bool:
        """Whether all that was ever asked for is on disk."""
        return self._state.manifest.complete

    def known(self) -> set[bytes]:
        """The content id of every row taken so far, on disk or in hand."""
        return set(self._known)

    def flush(self) -> None:
        """Close the part in hand, however small: what was added is safe when this returns."""
        if self._state.pending:
            self._write()

    def finish(self) -> None:
        """Close the last part and mark the store complete.

        Raises:
            TargetsIncomplete: Rows that `missing` named have not been added.
            TargetsCorrupt: A part that is to be put together with others is damaged; what else
                there is stays.
        """
        self.flush()
        rows = self._state.manifest.rows
        if rows < (self._expected_rows or 0):
            raise TargetsIncomplete(
                f"{self._folder} holds {rows:,} of {self._expected_rows:,} expected rows. Add "
                "those that missing() "
                "names, then finish"
            )
        if not self._state.manifest.complete:
            with suppress(
                OSError, MemoryError, pa.ArrowException
            ):  # small parts are as good, where the disk is full
                self._join(at_least=0)
            manifest = self._state.manifest
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
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

    def _write(self) -> None:
        """Close a part of what is in hand."""
        manifest, taken, file = self._state.manifest, self._state.pending, self._next_file()
        ids, rows = as_ids([name for name, _ in taken]), [row for _, row in taken]
        part = write_part(
            self._folder, file, manifest=manifest, encoder=self._encoder, ids=ids, rows=rows
        )
        manifest = replace(
            manifest,
            parts=(*manifest.parts, part),
            complete=False,
            expected_rows=self._expected_rows,
        )
        self._enter(manifest, pending=[])
        self._pending_since, self._pending_bytes = self._clock(), 0

    def _close_part(self) -> None:
        """Close the part in hand, and put small ones together if that is due."""
        self.flush()
        try:
            if self._may_join:
                self._join(at_least=1)
        except (OSError, MemoryError, pa.ArrowException, TargetsCorrupt):
            # What is in hand is safe; `finish` tries again, and says what is damaged.
            self._may_join = False

    def _join(self, *, at_least: float) -> None:
        """Put small parts together where they fill `at_least` so much of a whole one."""
        if not self._encoder.joins:
            return
        while (
            len(small := self._full.small(self._state.manifest.parts)) > 1
            and self._full.filled(small) >= at_least
        ):
            chosen, manifest = self._full.fitting(small), self._state.manifest
            manifest = join_parts(
                self._folder, self._next_file(), chosen, manifest=manifest, encoder=self._encoder
            )
            self._enter(manifest, pending=self._state.pending)
            for part in chosen:
                with suppress(OSError):  # the manifest does not name it any more
                    (self._folder / part.file).unlink()

    def _next_file(self) -> str:
        # A number is never used twice, so a part that Ctrl-C keeps out of the manifest is a stray,
        # never overwritten.
        self._next_number += 1
        return f"part-{self._next_number - 1:05d}.parquet"

    def _enter(self, manifest: Manifest, *, pending: list[IdWithTargets]) -> None:
        state = _State(manifest, pending)
        write_manifest(self._folder, manifest)
        self._state = state


def _with_output(folder: Path, encoding: Mapping[str, Any]) -> dict[str, Any]:
    """The encoding of hidden states, which depends on the output matrix beside them."""
    return {
        "bits": 8,
        **encoding,
        "hidden_size": output_shape(folder)[1],
        "output_sha256": output_digest(folder),
    }


def _number(file: str) -> int:
    return int(file.removeprefix("part-").removesuffix(".parquet"))
