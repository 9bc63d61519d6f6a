"""The run folder: where everything of one run lies, which stages are done, and whose recipe it is.

In: a root and a name. Out: paths and stage records. A folder made for one recipe is never given to
another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import RunDamaged, RunExists
from tutelage.runs.contents import Damage
from tutelage.runs.files import UNFINISHED_FILE
from tutelage.runs.locks import LOCK_FILE
from tutelage.runs.records import FOLDER, Stage
from tutelage.runs.storage import require_utf8, shown, storing

ANSWERS = "answers"
"""The folder beside runs that holds what answered texts cost something; no run."""
_SHOWN_CHANGES = 6


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run; see the layout in the documentation of the run folder."""

    path: Path

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def provenance_path(self) -> Path:
        """Versions, seeds, machine, fingerprints, data, warnings."""
        return self.path / "provenance.json"

    @property
    def teacher_path(self) -> Path:
        """The fitted teacher."""
        return self.path / "teacher"

    @property
    def readings_path(self) -> Path:
        """What the teacher made of the texts it has read, until the students are trained."""
        return self.path / "readings"

    @property
    def targets_path(self) -> Path:
        """The store of soft targets."""
        return self.path / "targets"

    @property
    def students_path(self) -> Path:
        """One model folder for each student."""
        return self.path / "students"

    @property
    def controls_path(self) -> Path:
        """The same students trained on labels alone."""
        return self.path / "controls"

    @property
    def certificates_path(self) -> Path:
        """What students may answer alone, a folder for each that was certified."""
        return self.path / "certificates"

    @property
    def evaluation_path(self) -> Path:
        """Every metric with its interval."""
        return self.path / "evaluation.json"

    @property
    def predictions_path(self) -> Path:
        """Every model's probabilities on the test rows."""
        return self.path / "predictions.parquet"

    @property
    def report_path(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def recipe_record(self) -> Stage:
        """The record of recipe.yaml, which holds its text."""
        return self.stage("recipe")

    @property
    def recipe_text(self) -> str | None:
        """The recipe as the run wrote it, whatever became of recipe.yaml since; of a run of an
        earlier version what the file says. None where there is none.
        """
        kept = self.recipe_record.copies.get(self.recipe_path.name)
        if kept is not None or not self.recipe_path.is_file():
            return kept
        return self.recipe_path.read_text("utf-8", errors="replace")

    def stage(self, name: str) -> Stage:
        """The record of a stage, for instance `teacher` or `students/gru`."""
        return Stage(self.path, name)


def open_run(root: Path, name: str, recipe_text: str, *, out: Path | None = None) -> RunFolder:
    """Choose the folder of a run; nothing is written.

    Args:
        root: Where runs lie.
        name: The recipe's name.
        recipe_text: The resolved recipe as it will stand in recipe.yaml.
        out: The folder the person asked for. None takes `root/name` if it is free or belongs to
            this recipe, else `name-2`, `name-3` and so on: the one that belongs to this recipe, or
            the first free one.

    Returns:
        A folder that is free or belongs to this recipe.

    Raises:
        RunExists: `out` belongs to another recipe, or is a folder of other things.
        StorageError: There can be no such folder, or it cannot be looked into.
    """
    place = out if out is not None else root / name
    require_utf8(place)
    with storing(place):
        return _chosen(root, name, recipe_text, out)


def _chosen(root: Path, name: str, recipe_text: str, out: Path | None) -> RunFolder:
    if out is not None:
        if out.is_symlink() and not out.exists():
            raise RunExists(
                f"{shown(out)} is a link that leads nowhere; expected a folder, or a name that is "
                "free. Make the folder that it leads to, or give another one with --out"
            )
        owner = _recipe_in(out)
        if owner is not None and owner != recipe_text:
            raise RunExists(
                f"{out} was made by another recipe ({describe_changes(owner, recipe_text)}) and is "
                "left as it is. "
                f"Give another folder with --out, for instance --out {out}-2: what is still the "
                "same is taken over "
                f"from {out}"
            )
        if owner is None and _holds_other_things(out):
            raise RunExists(
                f"{out} holds files that are no run of tutelage and is left as it is. Give a new "
                "folder with --out"
            )
        return RunFolder(out)
    free: Path | None = None
    number = 1
    while True:
        candidate = root / (name if number == 1 else f"{name}-{number}")
        if candidate.is_symlink() and not candidate.exists():
            number += 1  # a link that leads nowhere is somebody's
            continue
        if not candidate.exists() or (
            _recipe_in(candidate) is None and not _holds_other_things(candidate)
        ):
            free = free or candidate
            if not candidate.exists():
                return RunFolder(free)
        elif _recipe_in(candidate) == recipe_text:
            return RunFolder(candidate)
        number += 1


def restore_recipe(run: Path) -> Damage | None:
    """Put recipe.yaml of a run back from its record where it is gone or no text any more.

    Args:
        run: The run folder.

    Returns:
        What was wrong with it and has been mended; None where nothing was.

    Raises:
        RunDamaged: It is a text, but not the one that the run wrote: somebody may have meant it.
    """
    folder = RunFolder(run)
    kept, damages = folder.recipe_text, folder.recipe_record.damages()
    if not damages or kept is None:
        return None
    path = folder.recipe_path
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError):
        text = ""
    if text.strip():
        raise RunDamaged(
            f"{path} is not what the run wrote ({describe_changes(kept, text)}). Remove it to have "
            "the run's own back from its record; to run this one, copy it to another place and "
            "give that to tutelage run"
        )
    folder.recipe_record.restore(damages)
    return damages[0]


def find_stages(root: Path, name: str, fingerprint: str) -> Iterator[RunFolder]:
    """The runs under `root` in which a stage is done for inputs of this fingerprint, by name.

    Their files may have been removed since, and another process may be at work there: whoever takes
    them looks first.
    """
    for record in sorted(root.glob(f"*/{FOLDER}/{name}.json")):
        run = RunFolder(root / record.relative_to(root).parts[0])
        if run.stage(name).is_done(fingerprint):
            yield run


def describe_changes(old: str, new: str) -> str:
    """What differs between two recipes, key by key: `train.epochs 3 → 10, students.gru added`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        before, after = (_leaves(YAML(typ="safe", pure=True).load(text)) for text in (old, new))
    except (YAMLError, RecursionError):
        return "one of them is no recipe any more"
    changes = []
    for key in sorted({*before, *after}):
        if key not in before:
            changes.append(f"{key} added")
        elif key not in after:
            changes.append(f"{key} removed")
        elif before[key] != after[key]:
            changes.append(f"{key} {before[key]} → {after[key]}")
    shown = ", ".join(changes[:_SHOWN_CHANGES]) or "the same values, written differently"
    return shown + (
        f" and {len(changes) - _SHOWN_CHANGES} more" if len(changes) > _SHOWN_CHANGES else ""
    )


def _recipe_in(folder: Path) -> str | None:
    return RunFolder(folder).recipe_text


def _holds_other_things(folder: Path) -> bool:
    """Whether there is anything but what a run leaves that was killed in its first write."""
    return folder.exists() and (
        not folder.is_dir()
        or any(
            found.name not in (LOCK_FILE, ".stages") and not UNFINISHED_FILE.fullmatch(found.name)
            for found in folder.iterdir()
        )
    )


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return found
