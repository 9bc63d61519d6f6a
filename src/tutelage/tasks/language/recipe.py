"""A whole causal_lm recipe, as frozen objects in the order of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from tutelage.config.values import FrozenList, PlainName, Section, not_yet
from tutelage.tasks.language.sections import (
    LanguageData,
    LanguageEvaluate,
    LanguageObjective,
    LanguageTask,
    LanguageTrain,
    SampledTargetsSpec,
    TokenTargets,
)
from tutelage.tasks.language.students import AnyLanguageStudent
from tutelage.tasks.objectives import laid_over
from tutelage.tasks.teachers import TokenTeacher


class LanguageRecipe(Section):
    """Everything a run of the task causal_lm needs to know; read from a file by `load_recipe`."""

    name: PlainName
    """Names the run folder; left out: the name of the recipe file."""

    task: LanguageTask
    """What the student must be able to do."""

    data: LanguageData
    """The documents."""

    teacher: TokenTeacher
    """The large model."""

    targets: TokenTargets = Field(default_factory=lambda: SampledTargetsSpec(kind="sampled"))
    """What the teacher writes down."""

    students: Annotated[Mapping[PlainName, AnyLanguageStudent], Field(min_length=1)]
    """The small models by name; all learn from the same targets."""

    objective: LanguageObjective = Field(default_factory=LanguageObjective)
    """What training minimises."""

    train: LanguageTrain = Field(default_factory=LanguageTrain)
    """How students are trained."""

    evaluate: LanguageEvaluate = Field(default_factory=LanguageEvaluate)
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

    def train_for(self, student: str) -> LanguageTrain:
        """The `train` section as it holds for one student: the student's own keys over the common
        ones.

        A student's own `epochs` also sets a common `token_budget` aside, and the other way round.

        Args:
            student: A name in `students`.

        Returns:
            All keys, with the seed of the run.
        """
        own = self.students[student].train
        if own is None:
            return self.train
        given = {key: getattr(own, key) for key in own.model_fields_set}
        if "epochs" in given:
            given.setdefault("token_budget", None)
        if given.get("token_budget") is not None:
            given["epochs"] = 1
        return self.train.model_copy(update=given)

    def objective_for(self, student: str) -> LanguageObjective:
        """The `objective` section as it holds for one student: the student's own keys over the
        common ones.

        Args:
            student: A name in `students`.

        Returns:
            All keys.
        """
        return laid_over(self.objective, self.students[student].objective)
