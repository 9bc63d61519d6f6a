"""What is explained in a run: whom its recipe names, and what the report shows of them.

In: a recipe and its teacher's folder; or test rows with everybody's answers. Out: a teacher to
explain; the part of evaluation.json that says what answers hang on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import RecipeError
from tutelage.evaluate.classes.explaining import Subject, explain, student_subject, teacher_subject
from tutelage.metrics import kls
from tutelage.models.contributions import word_spans
from tutelage.report.preference import best_student
from tutelage.students.classifier.answering import Classifier, Readable
from tutelage.tasks.classification.data import prepare_data
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import assignment_of, teacher_spec
from tutelage.teachers.teacher import Deployable

if TYPE_CHECKING:
    from tutelage.teachers.teacher import ClassProbabilities

STRONGEST = 12
"""N-grams of each class that the report shows."""
ROWS_EXPLAINED = 10
"""Of the test rows on which teacher and student part."""
TEACHER_SECONDS = 5.0
"""That explaining the teacher may take in all, by the time that its answers took."""


def load_teacher_subject(recipe: Recipe, folder: Path) -> Subject:
    """The teacher of a run, ready to be explained.

    Args:
        recipe: Of the run.
        folder: Where the run keeps its teacher.

    Raises:
        ModelError: The folder or the weights below it are not what they were.
        RecipeError: Its prompt is made of training rows, and they cannot be read; or its weights
            are not here, so that it answers no new texts, or is paid for each.
    """
    spec = teacher_spec(recipe)
    if not spec.has_weights:
        raise RecipeError(
            f"the teacher is of kind {spec.kind} and has no weights here, so nobody can see how "
            "its answer moves when a word is left out: explain a student, without --teacher"
        )
    data = prepare_data(recipe) if getattr(spec, "shots", 0) else None
    teacher: ClassProbabilities = spec.load(folder, assignment_of(recipe, data))  # type: ignore[assignment]
    assert isinstance(teacher, Deployable), f"{spec.kind} has weights, and answers new texts"
    return teacher_subject(teacher)


def what_answers_hang_on(
    texts: Sequence[str],
    students: Mapping[str, Classifier],
    evaluation: Mapping[str, Any],
    *,
    answers: Mapping[str, NDArray[np.floating]],
    teacher_probs: NDArray[np.floating],
    teacher: Subject | None,
) -> dict[str, Any]:
    """What the report says of why: the strongest parts of students that are sums, and the words
    that teacher and best student looked at where they part.

    Both are asked the same question, what changes without a word, so that their words can be
    compared; a teacher is asked while `TEACHER_SECONDS` last.

    Args:
        texts: The N test texts.
        students: By name.
        evaluation: What is known of them.
        answers: Each student's probabilities, [N, C].
        teacher_probs: The teacher's, [N, C].
        teacher: None where it does not answer new texts.

    Returns:
        `{"strongest": {student: {label: [[n-gram, push]]}}, "disagreements": {"student", "rows":
        [{"row", "student": {"label", "words": [[start, end, push]]}, "teacher": {...}}]}}`; what
        there is nothing to say about is absent. A push is in logits, of the label against the mean
        of all; `row` counts test rows from 0.
    """
    told: dict[str, Any] = {}
    sums = {
        name: {
            label: [[gram, round(push, 4)] for gram, push in found]
            for label, found in student.strongest(STRONGEST).items()
        }
        for name, student in students.items()
        if isinstance(student, Readable)
    }
    if sums:
        told["strongest"] = sums
    labelled = all("accuracy" in one for one in evaluation["students"].values())
    metric = ("accuracy", True) if labelled else ("kl", False)
    best = best_student(evaluation, list(students), metric=metric[0], higher_is_better=metric[1])
    apart = np.flatnonzero(answers[best].argmax(axis=1) != teacher_probs.argmax(axis=1))
    if not len(apart):
        return told
    gaps = kls(teacher_probs[apart], answers[best][apart])
    chosen = apart[np.argsort(-gaps, kind="stable")][:ROWS_EXPLAINED]
    rows: list[dict[str, Any]] = []
    seconds = 0.0
    for row in map(int, chosen):
        text = texts[row]
        record = {"row": row, "student": _looked_at(student_subject(best, students[best]), text)}
        if teacher is not None:
            rate = evaluation["teacher"]["examples_per_second"]["value"]
            seconds += (2 + len(word_spans(text))) / rate
            if seconds <= TEACHER_SECONDS:
                record["teacher"] = _looked_at(teacher, text)
        rows.append(record)
    return told | {"disagreements": {"student": best, "rows": rows}}


def _looked_at(subject: Subject, text: str) -> dict[str, Any]:
    """The answer to a text, and how far each word moved it."""
    (found,) = explain(subject, [text], method="occlusion")
    label = int(found.logits.argmax())
    return {
        "label": subject.labels[label],
        "words": [
            [*span, round(float(push), 4)]
            for span, push in zip(found.spans, found.pushes(label), strict=True)
        ],
    }
