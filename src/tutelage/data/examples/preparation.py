"""All data of a run, read, checked and split: from the paths in a recipe to lists of examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.data.examples.tables import Table, read_table
from tutelage.data.examples.validation import check_parts
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import short_names, shown
from tutelage.data.splits import split
from tutelage.errors import Problem, RecipeError
from tutelage.types import Example


@dataclass(frozen=True, slots=True)
class Prepared:
    """The examples of a run, ready for the teacher."""

    train: list[Example]
    """What is learned from: all rows of the training file that were not set aside, labelled or
    not."""

    validation: list[Example]
    """What chooses the best student."""

    test: list[Example]
    """What the evaluation reads; every row has a label."""

    unlabeled: list[Example]
    """What only the teacher speaks about: each text once, and none that validation or test hold."""

    train_groups: list[str | None] | None
    """For each training row its group, None where it has none; None: the recipe names no group
    column."""

    warnings: tuple[Problem, ...]
    """What a person should know, though it stops nothing."""

    facts: dict[str, dict[str, Any]]
    """For each part the file, the rows, the labelled rows, and the rows of each label; for the
    provenance."""


def prepare(
    train: Path,
    labels: Sequence[str],
    *,
    test: Path | float,
    validation: Path | float = 0.1,
    unlabeled: Sequence[Path] = (),
    text_field: str = "text",
    label_field: str = "label",
    group_field: str | None = None,
    labels_required: bool = True,
    limits: ReadingLimits = USUAL,
    seed: int = 0,
) -> Prepared:
    """Read, check and split the data of a run.

    Args:
        train: The training file.
        labels: The label names, in the order of their indexes.
        test: A file, or the share of the labelled training rows to set aside.
        validation: The same, for choosing the best student. Shares are all of the whole training
            file.
        unlabeled: Files of texts without labels; a label column in them is ignored.
        text_field: The column of the text in every file.
        label_field: The column of the label.
        group_field: The column whose equal values stay on one side of a split; only the training
            file must have it.
        labels_required: False for a teacher that needs no labels: then training rows of every class
            are not needed.
        limits: How large rows and files may be.
        seed: Chooses the rows that are set aside.

    Returns:
        The parts, with warnings and facts.

    Raises:
        RecipeError: The data cannot be used; `problems` holds every reason, each with its file and
            row.
    """
    files = [train, *[one for one in (validation, test) if isinstance(one, Path)], *unlabeled]
    names = short_names(files)
    problems: list[Problem] = []

    def read(path: Path, label: str | None, group: str | None, required: bool) -> Table:
        fields = {"text_field": text_field, "label_field": label, "group_field": group}
        table, found = read_table(
            path,
            **fields,
            labels=labels,
            labels_required=required,
            source=names[path],
            limits=limits,
        )
        problems.extend(found)
        return table

    whole = read(train, label_field, group_field, labels_required)
    aside = {
        "test": read(test, label_field, None, True) if isinstance(test, Path) else test,
        "validation": read(validation, label_field, None, labels_required)
        if isinstance(validation, Path)
        else validation,
    }
    more = [example for path in unlabeled for example in read(path, None, None, False).examples]
    if not all(table.examples for table in (whole, *aside.values()) if isinstance(table, Table)):
        raise RecipeError(problems)
    parts, found = _divide(whole, aside, seed=seed)
    part_names = tuple(part.name for part in (parts["train"], parts["validation"], parts["test"]))
    problems += found
    problems += check_parts(
        parts["train"].examples,
        parts["test"].examples,
        validation=parts["validation"].examples,
        labels=labels,
        labels_required=labels_required,
        names=(part_names[0], part_names[1], part_names[2]),
    )
    texts, found = _only_teacher(more, parts, ", ".join(names[path] for path in unlabeled))
    problems += found
    if any(problem.severity == "error" for problem in problems):
        raise RecipeError(sorted(problems, key=lambda problem: problem.severity != "error"))
    return Prepared(
        train=parts["train"].examples,
        validation=parts["validation"].examples,
        test=parts["test"].examples,
        unlabeled=texts.examples,
        train_groups=parts["train"].groups,
        warnings=tuple(problems),
        facts={role: _facts(part, labels) for role, part in (*parts.items(), ("unlabeled", texts))},
    )


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    examples: list[Example]
    groups: list[str | None] | None = None


def _divide(
    whole: Table, aside: Mapping[str, Table | float], *, seed: int
) -> tuple[dict[str, _Part], list[Problem]]:
    """Take test and validation from their files, or set their shares of the training file aside."""
    parts, problems = {}, []
    kept, kept_share = list(range(len(whole.examples))), 1.0
    for role, given in aside.items():
        if isinstance(given, Table):
            name, examples = given.source, given.examples
        else:
            name = f"{whole.source} ({role} share {given:g})"
            rows = [whole.examples[position] for position in kept]
            groups = None if whole.groups is None else [whole.groups[position] for position in kept]
            try:
                if given >= kept_share:
                    raise ValueError(
                        "test and validation together take all rows; lower one of the shares"
                    )
                stay, held = split(rows, groups, given / kept_share, seed=seed)
            except ValueError as error:
                problems.append(Problem(name, str(error)))
                stay, held = list(range(len(kept))), []
            examples = [rows[position] for position in held]
            kept, kept_share = [kept[position] for position in stay], kept_share - given
        labelled = [example for example in examples if example.label is not None]
        if labelled and (num_bare := len(examples) - len(labelled)):
            message = (
                f"{num_bare:,} {role} row{'s have' if num_bare > 1 else ' has'} no label and "
                f"{role} needs one; left out"
            )
            problems.append(Problem(name, message, "warning"))
        parts[role] = _Part(name, labelled or examples)
    groups = None if whole.groups is None else [whole.groups[position] for position in kept]
    train = _Part(whole.source, [whole.examples[position] for position in kept], groups)
    return {"train": train, "validation": parts["validation"], "test": parts["test"]}, problems


def _only_teacher(
    examples: Sequence[Example], parts: Mapping[str, _Part], name: str
) -> tuple[_Part, list[Problem]]:
    """The unlabeled texts that are new: each once, none from train, and none that would leak the
    test into training.
    """
    held = {example.text for role in ("validation", "test") for example in parts[role].examples}
    leaked = [example for example in examples if example.text in held]
    problems = []
    if leaked:
        one, rows = leaked[0], "rows are" if len(leaked) > 1 else "row is"
        message = (
            f"{len(leaked):,} unlabeled {rows} also in validation or test, for instance "
            f"{shown(one.text)} "
            f"({one.source}, row {one.row}); left out, so that the test stays unseen"
        )
        problems.append(Problem(name, message, "warning"))
    known = held | {example.text for example in parts["train"].examples}
    fresh: dict[str, Example] = {}
    for example in examples:
        if example.text not in known:
            fresh.setdefault(example.text, example)
    return _Part(name, list(fresh.values())), problems


def _facts(part: _Part, labels: Sequence[str]) -> dict[str, Any]:
    counts = Counter(example.label for example in part.examples if example.label is not None)
    return {
        "file": part.name,
        "rows": len(part.examples),
        "labelled": counts.total(),
        "label_counts": {label: counts[index] for index, label in enumerate(labels)},
    }
