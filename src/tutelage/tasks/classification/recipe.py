"""A whole classification recipe, as frozen objects in the order of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from tutelage.config.values import FrozenList, PlainName, Section, not_yet
from tutelage.tasks.classification.sections import (
    Data,
    Evaluate,
    Objective,
    Schedule,
    Targets,
    Task,
    Train,
)
from tutelage.tasks.classification.students import AnyStudent
from tutelage.tasks.objectives import laid_over
from tutelage.tasks.teachers import ClassTeacher


class Recipe(Section):
    """Everything a run needs to know; read from a file by `load_recipe`."""

    name: PlainName
    """Names the run folder; left out: the name of the recipe file."""

    task: Task
    """What the student must be able to do."""

    data: Data
    """The examples."""

    teacher: ClassTeacher
    """The large model, and how it is asked."""

    targets: Targets = Field(default_factory=Targets)
    """What the teacher writes down."""

    students: Annotated[Mapping[PlainName, AnyStudent], Field(min_length=1)]
    """The small models by name; all learn from the same targets."""

    objective: Objective = Field(default_factory=Objective)
    """What training minimises."""

    train: Train = Field(default_factory=Train)
    """How students are trained."""

    evaluate: Evaluate = Field(default_factory=Evaluate)
    """What the report compares."""

    export: Annotated[
        tuple[
            Annotated[
                Literal["transformers"],
                not_yet(("onnx", "onnx_int8", "gguf"), "is not available in this version"),
            ],
            ...,
        ],
        FrozenList,
    ] = ("transformers",)
    """The formats each student is saved in."""

    def train_for(self, student: str) -> Train:
        """The `train` section as it holds for one student: the student's own keys over the common
        ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys, with the seed of the run.
        """
        own = self.students[student].train
        return self.train if own is None else self.train.model_copy(update=_given(own))

    def objective_for(self, student: str) -> Objective:
        """The `objective` section as it holds for one student: the student's own keys over the
        common ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys.
        """
        return laid_over(self.objective, self.students[student].objective)


def _given(section: Schedule) -> dict[str, Any]:
    return {key: getattr(section, key) for key in section.model_fields_set}
