"""What keeps the students of a recipe from being built, told before the teacher is asked for
anything.

In: a recipe, and the size and shape of its teacher. Out: problems. Configurations and tokenizers
are read, weights are not.
"""

from __future__ import annotations

from typing import Any

from tutelage.errors import Problem, RecipeError
from tutelage.models import ModelFacts
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import teacher_model


def require_students(recipe: Recipe, facts: ModelFacts) -> None:
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

    def tokenizer() -> Any:
        from tutelage.models.reading import read_tokenizer

        own_code = recipe.teacher.trust_remote_code
        return read_tokenizer(teacher_model(recipe), trust_remote_code=own_code)

    return [
        Problem(f"students.{name}.{section.key_of(option)}", message)
        for name, section in recipe.students.items()
        for option, message in section.spec(labels=recipe.task.labels).problems(facts, tokenizer)
    ]
