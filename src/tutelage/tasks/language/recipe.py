"""A whole causal_lm recipe, as frozen objects in the order of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from tutelage.config.values import PlainName
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
from tutelage.tasks.recipe import AnyRecipe
from tutelage.tasks.teachers import TokenTeacher


class LanguageRecipe(AnyRecipe):
    """Everything a run of the task causal_lm needs to know; read from a file by `load_recipe`."""

    task: LanguageTask

    data: LanguageData
    """The documents."""

    teacher: TokenTeacher
    targets: TokenTargets = Field(default_factory=lambda: SampledTargetsSpec(kind="sampled"))
    students: Annotated[Mapping[PlainName, AnyLanguageStudent], Field(min_length=1)]
    objective: LanguageObjective = Field(default_factory=LanguageObjective)
    train: LanguageTrain = Field(default_factory=LanguageTrain)
    evaluate: LanguageEvaluate = Field(default_factory=LanguageEvaluate)
