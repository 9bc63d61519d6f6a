"""The teacher of a causal_lm recipe, asked what its kind knows about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.errors import Problem
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.teachers.spec import TokenAssignment, placed

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.teachers import CausalTeacher
    from tutelage.teachers.causal.spec import CausalTeacherSpec


def teacher_spec(recipe: LanguageRecipe) -> CausalTeacherSpec:
    """The teacher's kind with its options."""
    return recipe.teacher.spec()


def assignment_of(recipe: LanguageRecipe) -> TokenAssignment:
    """What the teacher shall read."""
    return TokenAssignment(recipe.task.sequence_length)


def teacher_problems(recipe: LanguageRecipe) -> list[Problem]:
    """Everything that keeps the teacher from reading, at its place in the recipe."""
    return placed("teacher", teacher_spec(recipe).problems(assignment_of(recipe)))


def teacher_fingerprint(recipe: LanguageRecipe) -> str:
    """The fingerprint of what the teacher depends on.

    Raises:
        ModelError: The model is not there.
    """
    return teacher_spec(recipe).fingerprint(assignment_of(recipe))


def teacher_facts(recipe: LanguageRecipe) -> ModelFacts:
    """Size and shape of the teacher's language model, from files' headers.

    Raises:
        ModelError: The model is not there or cannot be read.
    """
    return teacher_spec(recipe).facts(assignment_of(recipe))


def load_teacher(recipe: LanguageRecipe) -> CausalTeacher:
    """The teacher, loaded.

    Raises:
        ModelError: It cannot be loaded, or reads fewer tokens than the recipe asks for.
    """
    return teacher_spec(recipe).load(None, assignment_of(recipe))
