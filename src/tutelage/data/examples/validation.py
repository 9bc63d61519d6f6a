"""What can be wrong with examples that are each fine: classes that are missing, contradictions,
leaks, too few rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tutelage.data.rows import shown
from tutelage.errors import Problem
from tutelage.types import Example

FEW_TEST_ROWS = 100
"""Below this an accuracy is known to about ten points only, which deserves a warning."""

FEW_ROWS_OF_CLASS = 10
"""Below this a class can hardly be learned, which deserves a warning."""


def check_parts(
    train: Sequence[Example],
    test: Sequence[Example],
    *,
    labels: Sequence[str],
    validation: Sequence[Example] = (),
    labels_required: bool = True,
    names: tuple[str, str, str] = ("train", "validation", "test"),
) -> list[Problem]:
    """Check the parts of a data set against each other and against the labels.

    Args:
        train: The rows to learn from, with or without labels.
        test: The rows of the final evaluation; only those with a label count.
        labels: The label names.
        validation: The rows that choose the best student.
        labels_required: Whether every class must be there in train. False: for a teacher that needs
            no labels, a missing class is only a warning.
        names: What the three parts are called in messages: their files.

    Returns:
        Errors (too few rows, a class missing from train) and warnings (contradicting labels, leaks,
        small parts).
    """
    train_name, validation_name, test_name = names
    problems = _missing_classes(train, labels, train_name, labels_required)
    if not any(example.label is not None for example in test):
        problems.append(
            Problem(test_name, "no row of the test has a label; the evaluation needs labelled rows")
        )
    else:
        problems += _small_or_lopsided(test, labels, test_name)
    if (
        validation
        and labels_required
        and not any(example.label is not None for example in validation)
    ):
        problems.append(
            Problem(
                validation_name,
                "no validation row has a label; add labels, or set validation to a share",
            )
        )
    for name, part in zip(names, (train, validation, test), strict=True):
        problems += _contradictions(part, labels, name)
    problems += _leaks(train, train_name, validation, validation_name, "validation")
    problems += _leaks(train, train_name, test, test_name, "test")
    problems += _leaks(validation, validation_name, test, test_name, "test")
    return problems


def _missing_classes(
    train: Sequence[Example], labels: Sequence[str], name: str, required: bool
) -> list[Problem]:
    counts = Counter(example.label for example in train if example.label is not None)
    absent = [label for index, label in enumerate(labels) if not counts[index]]
    if not train:
        return [Problem(name, "no row is left to train on; add rows")]
    if not required and not counts:
        return []
    severity = "error" if required else "warning"
    if absent:
        known = ", ".join(f"{label} {counts[index]:,}" for index, label in enumerate(labels))
        advice = (
            "add rows of it, or remove it from task.labels"
            if len(absent) == 1
            else "add rows, or correct task.labels"
        )
        message = (
            f"no training row is labelled {', '.join(absent)} (rows by label: {known}); {advice}"
        )
        return [Problem(name, message, severity)]
    if counts.total() < 2 * len(labels):
        message = (
            f"too few rows: {counts.total()} labelled rows to train on for {len(labels)} classes; "
            "expected at least "
            f"{2 * len(labels)}, and hundreds for a useful student: add labelled rows"
        )
        return [Problem(name, message, severity)]
    scarce = [
        f"{label} ({counts[i]})" for i, label in enumerate(labels) if counts[i] < FEW_ROWS_OF_CLASS
    ]
    message = (
        f"fewer than {FEW_ROWS_OF_CLASS} training rows of {', '.join(scarce)}; it will hardly be "
        f"learned"
    )
    return [Problem(name, message, "warning")] if scarce else []


def _small_or_lopsided(test: Sequence[Example], labels: Sequence[str], name: str) -> list[Problem]:
    counts = Counter(example.label for example in test if example.label is not None)
    problems = []
    if counts.total() < FEW_TEST_ROWS:
        margin = min(100 / counts.total() ** 0.5, 50)
        message = (
            f"{counts.total()} test rows tell an accuracy to about {margin:.0f} points; more rows "
            f"tell it better"
        )
        problems.append(Problem(name, message, "warning"))
    if absent := [label for index, label in enumerate(labels) if not counts[index]]:
        problems.append(
            Problem(
                name,
                f"no test row is labelled {', '.join(absent)}; nothing is learned about it",
                "warning",
            )
        )
    return problems


def _contradictions(part: Sequence[Example], labels: Sequence[str], name: str) -> list[Problem]:
    first: dict[str, Example] = {}
    contradicted: dict[str, Example] = {}
    for example in part:
        if (
            example.label is not None
            and first.setdefault(example.text, example).label != example.label
        ):
            contradicted.setdefault(example.text, example)
    if not contradicted:
        return []
    text, other = next(iter(contradicted.items()))
    one = first[text]
    assert one.label is not None
    assert other.label is not None
    texts = "text has" if len(contradicted) == 1 else "texts have"
    message = (
        f"{len(contradicted):,} {texts} more than one label, for instance "
        f"{shown(text)}: {labels[one.label]} in row {one.row}, {labels[other.label]} in row "
        f"{other.row}"
    )
    return [Problem(name, message, "warning")]


def _leaks(
    seen: Sequence[Example], seen_name: str, held: Sequence[Example], held_name: str, role: str
) -> list[Problem]:
    known = {example.text: example for example in seen}
    leaked = [example for example in held if example.text in known]
    if not leaked:
        return []
    one = leaked[0]
    rows = "row is" if len(leaked) == 1 else "rows are"
    message = (
        f"{len(leaked):,} {role} {rows} also in {seen_name}, for instance {shown(one.text)} (row "
        f"{one.row}, there row "
        f"{known[one.text].row}); the {role} flatters the student: remove them from one side"
    )
    return [Problem(held_name, message, "warning")]
