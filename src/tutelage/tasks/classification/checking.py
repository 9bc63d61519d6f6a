"""`tutelage check`: every problem of a recipe, its data and its students at once, and what a run
would take.

In: a recipe. Out: problems, and an estimate of time and disk. Configurations and tokenizers are
read, weights are not; nothing is trained, converted or written.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from tutelage.data import Prepared
from tutelage.errors import ModelError, NotEnoughDisk, Problem, RecipeError
from tutelage.models import ModelFacts
from tutelage.runs import cache_folder
from tutelage.students.classifier.student import FittedStudent
from tutelage.tasks.classification.data import read_data
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import (
    assignment_of,
    teacher_facts,
    teacher_problems,
    teacher_spec,
    texts_of,
)
from tutelage.tasks.estimates import (
    Check,
    describe_bytes,
    describe_effort,
    describe_minutes,
    free_disk_bytes,
    matrix_product_rate,
    require_disk,
)
from tutelage.teachers.spec import rough_tokens
from tutelage.types import SILENT, Progress


def check_recipe(
    recipe: Recipe, *, root: Path = Path("runs"), progress: Progress = SILENT
) -> Check:
    """Validate data and models of a recipe that loaded, and estimate time and disk.

    Args:
        recipe: From `tutelage.load_recipe`, which has checked the file itself.
        root: Where the run would be written.
        progress: Told what is being looked at.

    Returns:
        Every problem found, and an estimate, rough on purpose: within a factor of two on a quiet
        machine.
    """
    from tutelage.tasks.classification.checking import student_problems

    progress.say("Reading data")
    data, problems = read_data(recipe)
    facts = None
    with suppress(ModelError):  # which is among the teacher's own problems
        facts = teacher_facts(recipe)
    problems += [*teacher_problems(recipe, data), *student_problems(recipe, facts, data)]
    if data is None or any(problem.severity == "error" for problem in problems):
        return Check(problems, {}, "")
    estimate = estimate_run(recipe, data, facts, root=root)
    try:
        require_disk(estimate)
    except NotEnoughDisk as error:
        problems.append(Problem(str(root), str(error)))
    return Check(problems, estimate, describe(recipe, data, estimate))


def estimate_run(
    recipe: Recipe, data: Prepared, facts: ModelFacts | None, *, root: Path
) -> dict[str, Any]:
    """Rough time and disk of a run on this machine.

    What the teacher takes is asked of its kind; training costs three times a student's forward
    pass. The machine's speed is a matrix product timed here and now.
    """
    rate = matrix_product_rate()
    copies = recipe.data.augment.copies if recipe.data.augment is not None else 0
    rows = [*data.train, *data.unlabeled]
    texts = len(rows) + copies * len(data.train)
    tokens = rough_tokens(rows) + copies * rough_tokens(data.train)
    transfer = texts if recipe.label is None else min(texts, recipe.label.limit)
    learned = tokens * transfer / max(1, texts)  # tokens that students learn from
    judged = [*data.validation, *data.test]
    teacher = teacher_spec(recipe).estimate(
        assignment_of(recipe, data),
        texts=transfer + len(judged),
        tokens=learned + rough_tokens(judged),
        rate=rate,
    )
    steps = 0
    training_seconds = 0.0
    student_bytes = 0
    runs = 2 if recipe.evaluate.control else 1
    for name, student in recipe.students.items():
        train = recipe.train_for(name)
        epochs = train.epochs
        student_steps = max(1, -(-transfer // train.batch_size)) * epochs
        spec = student.spec(labels=recipe.task.labels)
        if isinstance(spec, FittedStudent):
            seconds, size = spec.effort(rows=transfer, tokens=learned)
            training_seconds += runs * seconds
            student_bytes += runs * size
            continue
        body, total = spec.weights(facts)
        operations = 6.0 * body * epochs * learned
        training_seconds += runs * (operations / (0.3 * rate) + 0.006 * student_steps)
        steps += runs * student_steps
        student_bytes += runs * 4 * total * 4  # weights, two optimiser moments, one checkpoint more
    target_bytes = len(rows) * (copies + 1) * 2 * (16 + 4 * len(recipe.task.labels))
    return {
        **({"asked_rows": transfer, "transfer_rows": texts} if recipe.label is not None else {}),
        "teacher_tokens": round(teacher.tokens),
        "teacher_parameters": teacher.parameters,
        "teacher_seconds": round(teacher.seconds, 1),
        **({"teacher_dollars": teacher.dollars} if teacher.dollars else {}),
        **({"teacher_requests": teacher.requests} if teacher.requests else {}),
        "steps": steps,
        "training_seconds": round(training_seconds, 1),
        "disk_bytes": int(teacher.disk_bytes + student_bytes + target_bytes),
        "free_disk_bytes": min(free_disk_bytes(root.absolute()), free_disk_bytes(cache_folder())),
    }


def describe(recipe: Recipe, data: Prepared, estimate: dict[str, Any]) -> str:
    """The estimate as a few lines for a person."""
    labelled = sum(example.label is not None for example in data.train)
    chosen = []
    if recipe.label is not None:
        chosen = [
            f"  asked     at most {estimate['asked_rows']:,} of {estimate['transfer_rows']:,} "
            f"rows to learn from (choose: {recipe.label.choose}), and those that judge"
        ]
    return "\n".join(
        [
            f"{recipe.name}: the recipe and its data are fine.",
            f"  rows      {len(data.train):,} train ({labelled:,} labelled), "
            f"{len(data.unlabeled):,} unlabeled, "
            f"{len(data.validation):,} validation, {len(data.test):,} test",
            *chosen,
            f"  teacher   {describe_effort(estimate)}",
            "  students  "
            f"{len(recipe.students)}{' and their controls' if recipe.evaluate.control else ''}, "
            f"{estimate['steps']:,} steps, {describe_minutes(estimate['training_seconds'])}",
            f"  disk      about {describe_bytes(estimate['disk_bytes'])} "
            f"({describe_bytes(estimate['free_disk_bytes'])} free)",
            "Times are rough: within a factor of two on a quiet machine.",
        ]
    )


def require_students(
    recipe: Recipe, facts: ModelFacts | None, data: Prepared | None = None
) -> None:
    """Refuse a recipe with students that cannot be built.

    Raises:
        RecipeError: Every one of their problems.
    """
    problems = student_problems(recipe, facts, data)
    if problems:
        raise RecipeError(problems)


def student_problems(
    recipe: Recipe, facts: ModelFacts | None, data: Prepared | None = None
) -> list[Problem]:
    """Everything about the students that would be refused once they are built.

    Args:
        recipe: From `tutelage.load_recipe`.
        facts: Of the teacher's language model; None where it cannot be read, which is a problem of
            its own.
        data: Its rows; None where they cannot be read.

    Returns:
        One problem for each key that must change.
    """
    teacher, assignment = teacher_spec(recipe), assignment_of(recipe)
    problems, texts = [], [] if data is None else texts_of(data)
    for name, section in recipe.students.items():
        spec, where = section.spec(labels=recipe.task.labels), f"students.{name}"
        if (spec.needs_weights or spec.needs_tokenizer) and not teacher.has_weights:
            problems.append(
                Problem(
                    where,
                    "is made from the teacher's weights or vocabulary, but a teacher of kind "
                    f"{teacher.kind} has none here: take embeddings: random and a tokenizer of its "
                    "own",
                )
            )
            continue
        found = spec.problems(
            facts, lambda: teacher.tokenizer(assignment, convert=False), texts=texts
        )
        problems += [
            Problem(f"{where}.{section.key_of(option)}", message) for option, message in found
        ]
    return problems
