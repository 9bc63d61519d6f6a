"""A whole causal_lm recipe, as frozen objects in the order of the flow, and what its sections say
about each other: whether the targets can serve the objectives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from tutelage.config.source import Source, dotted
from tutelage.config.values import PlainName
from tutelage.errors import Problem
from tutelage.losses.table import TOKEN_KINDS
from tutelage.tasks.language.sections import (
    AnyLanguageStudent,
    LanguageData,
    LanguageEvaluate,
    LanguageObjective,
    LanguageTask,
    LanguageTrain,
    SampledTargetsSpec,
    TokenTargets,
)
from tutelage.tasks.recipe import AnyRecipe, mapping, objective_problems
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


def language_problems(source: Source) -> list[Problem]:
    """Hold the objective of every student against the targets.

    Args:
        source: A causal_lm recipe as it was read.

    Returns:
        An error for each objective that the targets cannot serve exactly or without bias, each key
        that has no meaning for its divergence, and each student that needs hidden states or whole
        distributions where there are none.
    """
    targets = mapping(source.values.get("targets"))
    kind = targets.get("kind", "sampled")
    found = dict.fromkeys(objective_problems(source, kind))
    for name, student in mapping(source.values.get("students")).items():
        if kind in TOKEN_KINDS:
            found |= dict.fromkeys(_no_hidden_states(mapping(student), name, kind, source))
            found |= dict.fromkeys(_no_whole_distributions(mapping(student), name, kind, source))
    return list(found)


def _no_hidden_states(
    student: dict[str, Any], name: str, kind: str, source: Source
) -> Iterator[Problem]:
    weight = student.get("hidden_weight", 0)
    if isinstance(weight, (int, float)) and weight > 0 and kind in _WITHOUT_STATES:
        keys = ("students", name, "hidden_weight")
        message = (
            f"`{dotted(keys)}`: {kind} targets hold no hidden states; choose targets of kind "
            "hidden or live"
        )
        yield Problem(source.where(keys), message)


def _no_whole_distributions(
    student: dict[str, Any], name: str, kind: str, source: Source
) -> Iterator[Problem]:
    if student.get("vocabulary") == "corpus" and kind in _WITHOUT_STATES:
        keys = ("students", name, "vocabulary")
        yield Problem(
            source.where(keys),
            f"`{dotted(keys)}`: {kind} targets cannot give the teacher's distribution over its "
            "tokens exactly or "
            "without bias, since they do not say how much of it that is; choose targets of kind "
            "hidden or live, or "
            "vocabulary: full",
        )


_WITHOUT_STATES = ("sampled", "top_k")
