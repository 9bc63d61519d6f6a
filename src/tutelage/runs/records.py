"""The record of one stage of a run: done for which inputs, how long it took, and what it left.

A record carries a sum of itself, and size and SHA-256 of every file that the stage left, so that
nobody takes a damaged result for the stage's own. Records of earlier versions, which have neither,
are believed as they were then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import RunDamaged
from tutelage.runs.contents import Damage, damages, place_in, remove, sums_of
from tutelage.runs.files import atomic_write_json, atomic_write_text, remove_unfinished
from tutelage.runs.fingerprints import fingerprint
from tutelage.runs.storage import storing

FOLDER = ".stages"
FORMAT = 1
"""Of a record. One that names no `format` is of this; a version that writes others names theirs."""
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_EARLIER_KEYS = {"fingerprint", "seconds", "facts"}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run, as its record tells."""

    run: Path
    """The run folder."""
    name: str
    """For instance `teacher` or `students/gru`."""

    @property
    def path(self) -> Path:
        """The record's file."""
        return self.run / FOLDER / f"{self.name}.json"

    def record(self) -> dict[str, Any]:
        """All that is written down; empty where there is nothing, or something damaged, or names
        that lead out of the run: then the stage is done again.
        """
        record = self._written()
        if record.get("format", FORMAT) != FORMAT or not _is_sound(record):
            return {}
        told = record.pop("sum", None)
        earlier = told is None and record.keys() == _EARLIER_KEYS
        return record if earlier or told == fingerprint(record) else {}

    def require_known(self) -> None:
        """Refuse a record of a later version: doing the stage again would destroy its result.

        Raises:
            RunDamaged: It is one.
        """
        if said := self.later_format:
            raise RunDamaged(f"{self.run}: {said}")

    def is_done(self, fingerprint: str) -> bool:
        """True if the stage was finished for inputs of this fingerprint. Whether what it left is
        still there, `damages` says.
        """
        return self.record().get("fingerprint") == fingerprint

    def mark_done(
        self,
        fingerprint: str,
        *,
        seconds: float,
        left: Iterable[Path] = (),
        copied: Iterable[Path] = (),
        **facts: Any,
    ) -> None:
        """Record that the stage is finished.

        Args:
            fingerprint: Of its inputs.
            seconds: Wall time the work took.
            left: Files it made, and folders that it filled; their sums are recorded.
            copied: Small texts among them that stand in the record whole, to be put back from it.
            facts: JSON values worth keeping with it.
        """
        record = {"fingerprint": fingerprint, "seconds": seconds, "facts": facts}
        self._write(record | self._contents(left, copied))

    def mark_as(self, record: Mapping[str, Any]) -> None:
        """Record that the stage was finished as in another run, whose files were taken over."""
        self._write(record)

    def add_sums(self, *, left: Iterable[Path], copied: Iterable[Path]) -> None:
        """Give a record of an earlier version the sums of what lies there now: from now on, damage
        is noticed. Arguments are those of `mark_done`.
        """
        self._write(self.record() | self._contents(left, copied))

    def withdraw(self) -> None:
        """Forget that the stage was done."""
        remove(self.path)

    def _written(self) -> dict[str, Any]:
        with storing(self.path):
            try:
                record = json.loads(self.path.read_text("utf-8"))
            except (*_NO_FILE, ValueError, RecursionError):
                return {}
        return record if isinstance(record, dict) else {}

    @property
    def later_format(self) -> str | None:
        """What to say of a record that a later version wrote; None where it is none."""
        found = self._written().get("format", FORMAT)
        if not isinstance(found, int) or found <= FORMAT:
            return None
        return (
            f"{self.path.relative_to(self.run).as_posix()} is a record of format {found}, and this "
            f"version of tutelage reads format {FORMAT}. Use the version that wrote it, or run "
            "into another folder"
        )

    @property
    def state(self) -> Literal["absent", "broken", "later", "unsummed", "summed"]:
        """What there is: no record, one that cannot be used, one of a later version, one of an
        earlier version without sums of files, or one with them.
        """
        if record := self.record():
            return "summed" if "files" in record else "unsummed"
        if self.later_format is not None:
            return "later"
        return "broken" if self.path.exists() or self.path.is_symlink() else "absent"

    @property
    def sums(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of what the stage left, by path relative to the run."""
        return dict(self.record().get("files", {}))

    @property
    def copies(self) -> dict[str, str]:
        """Texts among them that stand in the record whole."""
        return dict(self.record().get("copies", {}))

    @property
    def facts(self) -> dict[str, Any]:
        """What was kept with the stage; empty if it is not done."""
        return dict(self.record().get("facts", {}))

    @property
    def seconds(self) -> float:
        """Wall time the work took; 0 if it is not done."""
        return float(self.record().get("seconds", 0.0))

    def damages(self, *, sizes_only: bool = False) -> list[Damage]:
        """Each file that is not what the stage left; every byte is read, unless sizes are asked
        for alone.
        """
        return damages(self.run, self.sums, sizes_only=sizes_only)

    def restore(self, damages: Sequence[Damage]) -> list[Damage]:
        """Put damaged texts back that the record holds whole.

        Args:
            damages: From `damages`.

        Returns:
            Those that are mended.

        Raises:
            RunDamaged: One lies outside of the run, where a link leads; nothing is put back.
        """
        copies = self.copies
        mended = [damage for damage in damages if damage.path in copies]
        places = [place_in(self.run, damage.path) for damage in mended]
        for place, damage in zip(places, mended, strict=True):
            remove(place)
            atomic_write_text(place, copies[damage.path])
        return mended

    def forget(self, paths: Iterable[str]) -> None:
        """Strike files out of the record, which nobody looks for any more."""
        record = self.record()
        gone = set(paths)
        record["files"] = {path: known for path, known in self.sums.items() if path not in gone}
        self._write(record)

    def _contents(self, left: Iterable[Path], copied: Iterable[Path]) -> dict[str, Any]:
        whole = [path for path in copied if path.is_file()]
        texts = {path.relative_to(self.run).as_posix(): path.read_text("utf-8") for path in whole}
        return {"files": sums_of(self.run, [*left, *whole]), "copies": texts}

    def _write(self, record: Mapping[str, Any]) -> None:
        record = json.loads(json.dumps(record))
        if self.path.is_dir():  # somebody's damage
            remove(self.path)
        remove_unfinished(self.path.parent)  # of processes that were killed here
        atomic_write_json(self.path, {**record, "sum": fingerprint(record)})


def require_undamaged(run: Path, names: Sequence[str]) -> None:
    """Refuse what some stages of a run left, if it is not what they left.

    Args:
        run: The run folder.
        names: Stages; one that was never finished, or by a version that kept no sums, is passed
            over.

    Raises:
        RunDamaged: A file of theirs is not what it was, or a record cannot be read.
    """
    for name in names:
        stage = Stage(run, name)
        stage.require_known()
        if stage.state == "broken":
            raise RunDamaged(
                f"the record {stage.path} cannot be read, so nobody can say whether {name} is what "
                f"was made. Make it again: tutelage run {run}"
            )
        found = [damage for damage in stage.damages() if damage.matters]
        if found:
            rest = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise RunDamaged(
                f"{run}: {found[0]}{rest}, so it is not what was made. Put it back from a copy, or "
                f"make it again: tutelage run {run}"
            )


def recorded(run: Path) -> list[Stage]:
    """Every stage that a run has a record of, damaged ones too, by name."""
    folder = run / FOLDER
    names = sorted(path.relative_to(folder).with_suffix("") for path in folder.rglob("*.json"))
    return [Stage(run, name.as_posix()) for name in names if name.parts[0] != "finished"]


def _is_sound(record: Mapping[str, Any]) -> bool:
    """Whether it holds what records hold, and names nothing outside of the run: a stranger's record
    may have a sum that is right.
    """
    files, copies = record.get("files", {}), record.get("copies", {})
    return (
        isinstance(record.get("facts", {}), dict)
        and isinstance(record.get("seconds", 0.0), int | float)
        and isinstance(files, dict)
        and all(_is_sum(known) for known in files.values())
        and isinstance(copies, dict)
        and all(isinstance(text, str) and _is_utf8(text) for text in copies.values())
        and all(_is_inside(name) for name in (*files, *copies))
    )


def _is_sum(known: Any) -> bool:
    return (
        isinstance(known, dict)
        and isinstance(known.get("bytes"), int)
        and isinstance(known.get("sha256"), str)
    )


def _is_inside(name: str) -> bool:
    """Whether it is a path as `sums_of` writes it: neither absolute nor with a part that leads up,
    nor the run itself.
    """
    named = all(part not in ("", ".", "..") for part in name.split("/"))
    return named and "\0" not in name and _is_utf8(name)


def _is_utf8(text: str) -> bool:
    """False for half surrogate pairs, which JSON can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
