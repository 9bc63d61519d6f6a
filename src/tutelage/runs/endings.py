"""How a call ended that did everything it was asked for: the next one compares records alone.

To have the fingerprint of a stage, data is read and split, documents are rendered and tokenized,
tokenizers are loaded: all of it follows from the recipe and the bytes of the files that it names.
So a call that ends writes down, under one fingerprint of recipe and files, which stages it ended
with. The next call with the same recipe and files finds that there is nothing to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tutelage.runs.contents import remove
from tutelage.runs.files import atomic_write_text, remove_unfinished
from tutelage.runs.fingerprints import fingerprint
from tutelage.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class Finished:
    """How a call ended that did everything it was asked for."""

    inputs: str
    """The fingerprint of the recipe and of every file that it names."""

    stages: Mapping[str, str]
    """Each stage that was asked for, with the fingerprint of its inputs, in the order of the
    flow."""

    files: tuple[str, ...]
    """What the stages left, relative to the run folder: nothing is finished without it."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that the next call shows as this one did, such as warnings about the data."""


def remember_finished(folder: RunFolder, until: str, finished: Finished) -> None:
    """Write down how a call up to the stage `until` ended; a kill leaves the old record or this
    one.
    """
    record = json.loads(json.dumps(asdict(finished)))
    if _path(folder, until).is_dir():  # somebody's damage
        remove(_path(folder, until))
    remove_unfinished(_path(folder, until).parent)  # of processes that were killed here
    atomic_write_text(
        _path(folder, until), json.dumps({"record": record, "sum": fingerprint(record)}, indent=2)
    )


def recall_finished(folder: RunFolder, until: str, *, inputs: str) -> Finished | None:
    """How a call up to the stage `until` ended, if it ended with these inputs and still holds.

    Args:
        folder: The run.
        until: The last stage that was asked for.
        inputs: The fingerprint of the recipe and of every file that it names, as they are now.

    Returns:
        None where no such call is on record, the record is damaged, a stage was withdrawn or done
        for other inputs since, or a file is gone. Whether the files are what they were is not
        asked here.
    """
    finished = _read(_path(folder, until))
    holds = (
        finished is not None
        and finished.inputs == inputs
        and all(folder.stage(name).is_done(known) for name, known in finished.stages.items())
        and all((folder.path / file).exists() for file in finished.files)
    )
    return finished if holds else None


def broken_endings(folder: RunFolder) -> list[str]:
    """Each word of how a call ended that cannot be read any more, in words."""
    paths = sorted(_path(folder, "any").parent.glob("*.json"))
    return [
        f"{path.relative_to(folder.path).as_posix()} cannot be read as a record"
        for path in paths
        if _read(path) is None
    ]


def ended(folder: RunFolder) -> list[tuple[str, Finished]]:
    """By the last stage that was asked for, how each call ended of which there is word."""
    paths = sorted(_path(folder, "any").parent.glob("*.json"))
    return [(path.stem, found) for path in paths if (found := _read(path)) is not None]


def remove_broken_endings(folder: RunFolder) -> None:
    """Remove what cannot be read any more: the next call writes its own."""
    for path in _path(folder, "any").parent.glob("*.json"):
        if _read(path) is None:
            remove(path)


def _read(path: Path) -> Finished | None:
    try:
        written = json.loads(path.read_text("utf-8"))
        record = written["record"]
        if written["sum"] != fingerprint(record):
            return None
        return Finished(**{**record, "files": tuple(record["files"])})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _path(folder: RunFolder, until: str) -> Path:
    return folder.path / ".stages" / "finished" / f"{until}.json"
