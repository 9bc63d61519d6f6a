"""What keeps the students of a recipe from being built, told before the teacher is asked for
anything.

In: a recipe, and the size and shape of its teacher. Out: problems. Configurations and tokenizers
are read, weights are not.
"""

from __future__ import annotations

from tutelage.errors import Problem, RecipeError
from tutelage.models import ModelFacts
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import assignment_of, teacher_spec


def require_students(recipe: Recipe, facts: ModelFacts | None) -> None:
    """Refuse a recipe with students that cannot be built.

    Raises:
        RecipeError: Every one of their problems.
    """
    problems = student_problems(recipe, facts)
    if problems:
        raise RecipeError(problems)


def student_problems(recipe: Recipe, facts: ModelFacts | None) -> list[Problem]:
    """Everything about the students that would be refused once they are built.

    Args:
        recipe: From `tutelage.load_recipe`.
        facts: Of the teacher's language model; None where it cannot be read, which is a problem of
            its own.

    Returns:
        One problem for each key that must change.
    """
    teacher, assignment = teacher_spec(recipe), assignment_of(recipe)
    problems = []
    for name, section in recipe.students.items():
        spec, where = section.spec(labels=recipe.task.labels), f"students.{name}"
        if (spec.needs_weights or spec.needs_tokenizer) and not teacher.has_weights:
            problems.append(
                Problem(
                    where,
                    f"is made from the teacher's weights or vocabulary, but a {teacher.kind} "
                    "teacher has none here: take embeddings: random and a tokenizer of its own",
                )
            )
            continue
        found = spec.problems(facts, lambda: teacher.tokenizer(assignment, convert=False))
        problems += [
            Problem(f"{where}.{section.key_of(option)}", message) for option, message in found
        ]
    return problems
