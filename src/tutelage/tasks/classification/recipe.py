"""A whole classification recipe, as frozen objects in the order of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from tutelage.config.values import PlainName
from tutelage.tasks.classification.sections import (
    Data,
    Evaluate,
    Objective,
    Targets,
    Task,
    Train,
)
from tutelage.tasks.classification.students import Student
from tutelage.tasks.recipe import AnyRecipe
from tutelage.tasks.teachers import ClassTeacher


class Recipe(AnyRecipe):
    """Everything a run needs to know; read from a file by `load_recipe`."""

    task: Task

    data: Data
    """The examples."""

    teacher: ClassTeacher
    """The large model, and how it is asked."""

    targets: Targets = Field(default_factory=Targets)
    students: Annotated[Mapping[PlainName, Student], Field(min_length=1)]
    objective: Objective = Field(default_factory=Objective)
    train: Train = Field(default_factory=Train)
    evaluate: Evaluate = Field(default_factory=Evaluate)
