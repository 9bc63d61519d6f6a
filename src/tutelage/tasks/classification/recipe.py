"""A whole classification recipe, as frozen objects in the order of the flow, and what its sections
say against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from tutelage.config.source import Source
from tutelage.config.values import PlainName
from tutelage.errors import Problem
from tutelage.tasks.classification.sections import (
    AnyStudent,
    Data,
    Evaluate,
    Label,
    Objective,
    Targets,
    Task,
    Train,
)
from tutelage.tasks.recipe import AnyRecipe, export_problems, objective_problems
from tutelage.tasks.teachers import ClassTeacher, verbalizer_problems


class Recipe(AnyRecipe):
    """Everything a run needs to know; read from a file by `load_recipe`."""

    task: Task

    data: Data
    """The examples."""

    teacher: ClassTeacher
    """The large model, and how it is asked."""

    label: Label | None = None
    """Which texts the teacher is asked about; None: all."""

    targets: Targets = Field(default_factory=Targets)
    students: Annotated[Mapping[PlainName, AnyStudent], Field(min_length=1)]
    objective: Objective = Field(default_factory=Objective)
    train: Train = Field(default_factory=Train)
    evaluate: Evaluate = Field(default_factory=Evaluate)


def classification_problems(source: Source) -> list[Problem]:
    """What does not fit together, told from raw values so that nothing hides it.

    Args:
        source: A classification recipe as it was read.

    Returns:
        An error for each verbalizer that does not fit the labels, for each key of an objective that
        has no meaning for its divergence, and for each format that is not for students like these.
    """
    return [
        *verbalizer_problems(source),
        *objective_problems(source, "class_probabilities"),
        *export_problems(source, "classification"),
    ]
