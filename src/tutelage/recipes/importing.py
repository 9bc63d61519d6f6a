"""`tutelage import`: what a file of answers was taken for, and the same answers in the form that
needs no guessing.

In: a file that somebody has, and what is known of it. Out: the facts and the problems; with `out` a
table of texts and the probability of each label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import Problem, RecipeError
from tutelage.recipes.answer_tables import WRITERS
from tutelage.recipes.loading import load_recipe
from tutelage.runs import place_for, replacing
from tutelage.teachers.recorded.reading import Recorded, Understanding, read_recorded


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file of answers."""

    recorded: Recorded | None
    """What was understood; None: nothing."""
    problems: list[Problem]
    """What was not, by row."""

    @property
    def is_whole(self) -> bool:
        """Whether everything was understood."""
        return self.recorded is not None and not self.errors

    @property
    def errors(self) -> list[Problem]:
        """The problems that keep a teacher from being made of it."""
        return [one for one in self.problems if one.severity == "error"]


def import_answers(
    path: Path,
    *,
    labels: Sequence[str] | None = None,
    recipe: Path | None = None,
    how: Understanding | None = None,
    out: Path | None = None,
) -> Imported:
    """Read a file of answers as `teacher: {kind: recorded}` would.

    Args:
        path: The file, or the folder of a store.
        labels: The labels; None: those of the recipe, otherwise those that the file has.
        recipe: A recipe whose labels are meant.
        how: What is known of the file.
        out: Where the normal form goes: `text`, and `p_LABEL` for each label (csv, tsv, jsonl or
            parquet). It is written only if everything was understood.

    Returns:
        What was understood and what was not.

    Raises:
        RecipeError: `out` has another ending, or is the file itself, or texts are not known.
    """
    if labels is None and recipe is not None:
        labels = _labels_of(recipe)
    if out is not None:
        _require_place(path, out)
    recorded, problems = read_recorded(path, labels, how)
    imported = Imported(recorded, problems)
    if out is not None and recorded is not None and imported.is_whole:
        write_answers(recorded, out)
    return imported


def write_answers(recorded: Recorded, out: Path) -> None:
    """Write answers in their normal form: a row for each text, a column for each label.

    Args:
        recorded: The answers.
        out: The file, which appears when it is whole.

    Raises:
        RecipeError: The texts are not known.
        StorageError: It cannot be written there.
    """
    if recorded.texts is None:
        raise RecipeError(
            f"{recorded.source} is a store, which knows texts by their content ids only, so no "
            "table of texts can be written: give the store itself to teacher.file"
        )
    rows = [
        {"text": text}
        | {f"p_{label}": float(prob) for label, prob in zip(recorded.labels, probs, strict=True)}
        for text, probs in zip(recorded.texts, recorded.probs, strict=True)
    ]
    with replacing(place_for(out)) as beside:
        WRITERS[out.suffix.lower()](beside, rows)


def _labels_of(recipe: Path) -> tuple[str, ...]:
    loaded = load_recipe(recipe / "recipe.yaml" if recipe.is_dir() else recipe)
    labels = getattr(loaded.task, "labels", None)
    if labels is None:
        raise RecipeError(f"{recipe} is of task {loaded.task.kind}, which has no labels")
    return tuple(labels)


def _require_place(path: Path, out: Path) -> None:
    if out.suffix.lower() not in WRITERS:
        raise RecipeError(
            f"--out {out} ends in {out.suffix or 'nothing'}; expected {', '.join(WRITERS)}"
        )
    if out.exists() and path.exists() and out.samefile(path):
        raise RecipeError(f"--out {out} is the file that is read: give another name")
