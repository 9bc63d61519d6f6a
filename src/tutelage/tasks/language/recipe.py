"""A whole causal_lm recipe, as frozen objects in the order of the flow, and what its sections say
about each other: whether the targets can serve the objectives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

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
from tutelage.tasks.recipe import AnyRecipe, export_problems, mapping, objective_problems
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

    @model_validator(mode="before")
    @classmethod
    def _text_is_learned_as_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and mapping(values.get("targets")).get("kind") == "text":
            return {**values, "objective": {"soft_weight": 0.0, **mapping(values.get("objective"))}}
        return values


def language_problems(source: Source) -> list[Problem]:
    """Hold the objective of every student against the targets.

    Args:
        source: A causal_lm recipe as it was read.

    Returns:
        An error for each objective that the targets cannot serve exactly or without bias, each key
        that has no meaning for its divergence, each student that needs hidden states or whole
        distributions where there are none, and each format that is not for students that write.
    """
    targets = mapping(source.values.get("targets"))
    kind = targets.get("kind", "sampled")
    found = dict.fromkeys(objective_problems(source, kind))
    found |= dict.fromkeys(export_problems(source, "causal_lm"))
    found |= dict.fromkeys(_no_probabilities(source, kind))
    if kind == "text":
        return list(found | dict.fromkeys(_text_problems(source)))
    found |= dict.fromkeys(_no_response(source))
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


def _no_probabilities(source: Source, kind: Any) -> Iterator[Problem]:
    """What only a teacher can give that is here."""
    if mapping(source.values.get("teacher")).get("kind") != "api":
        return
    protocol = mapping(source.values.get("teacher")).get("protocol", "chat")
    if kind not in ("text", "top_k"):
        yield Problem(
            source.where(("targets",)),
            "`teacher.kind` is api, and a server tells no whole distributions: let the teacher "
            "write, targets: {kind: text}, or where it is vLLM take its likeliest tokens, targets: "
            "{kind: top_k} with protocol: completions",
        )
    elif (kind, protocol) == ("top_k", "chat"):
        yield Problem(
            source.where(("teacher", "protocol")),
            "`teacher.protocol` is chat, which tells no probabilities of a student's tokens: set "
            "protocol: completions where the server is vLLM, or let the teacher write, targets: "
            "{kind: text}",
        )
    elif (kind, protocol) == ("text", "completions"):
        yield Problem(
            source.where(("teacher", "protocol")),
            "`teacher.protocol` is completions, which tells tokens of documents that are there; "
            "for targets of kind text set protocol: chat",
        )
    if mapping(source.values.get("evaluate")).get("prefer") is not None:
        yield Problem(
            source.where(("evaluate", "prefer")),
            "`evaluate.prefer` counts how often a student makes the teacher's first choice, which "
            "a teacher behind an API does not tell; remove it",
        )
    for name, student in mapping(source.values.get("students")).items():
        one, keys = mapping(student), ("students", name)
        said = f"`{dotted(keys)}`: the teacher's weights are behind an API, so no student can be "
        if one.get("kind") == "pruned":
            yield Problem(
                source.where(keys),
                f"{said}cut from it; take a student of kind pretrained, transformer or rnn",
            )
        elif one.get("embeddings") == "teacher":
            yield Problem(
                source.where((*keys, "embeddings")),
                f"{said}given its embeddings; set embeddings: random",
            )


def _no_response(source: Source) -> Iterator[Problem]:
    """Prompts alone, of which only the teacher's own words make something to learn."""
    data = mapping(source.values.get("data"))
    if data.get("prompt_field") is not None and data.get("response_field") is None:
        yield Problem(
            source.where(("data", "prompt_field")),
            "`data.prompt_field` is given without response_field; name the column of both, use "
            "text_field, or let the teacher write the responses (targets: {kind: text})",
        )


def _text_problems(source: Source) -> Iterator[Problem]:
    """What has no meaning where students learn what the teacher wrote, and nothing else of it."""
    data = mapping(source.values.get("data"))
    if not (data.get("prompt_field") or data.get("messages_field")):
        yield Problem(
            source.where(("data",)),
            "`targets.kind` is text, so the teacher answers prompts: name their column, "
            "data.prompt_field, or that of conversations, data.messages_field",
        )
    responses = data.get("response_field") or data.get("messages_field")
    if mapping(source.values.get("evaluate")).get("control") and not responses:
        yield Problem(
            source.where(("evaluate", "control")),
            "`evaluate.control`: with text targets controls are trained on the responses of the "
            "data: name their column, data.response_field, or remove it",
        )
    students = mapping(source.values.get("students"))
    owners = [((), source.values.get("objective"))]
    owners += [
        (("students", name), mapping(one).get("objective")) for name, one in students.items()
    ]
    for owner, objective in owners:
        for key, value in mapping(objective).items():
            default = LanguageObjective.model_fields.get(key)
            if value in ((0, None) if "weight" in key else (default and default.default,)):
                continue
            keys = (*owner, "objective", key)
            yield Problem(
                source.where(keys),
                f"`{dotted(keys)}`: text targets are learned as text, by its cross-entropy alone, "
                "and hold no probabilities to be near to; remove it, or choose targets of another "
                "kind",
            )
    for name, student in students.items():
        one = mapping(student)
        if one.get("vocabulary") == "corpus":
            keys = ("students", name, "vocabulary")
            yield Problem(
                source.where(keys),
                f"`{dotted(keys)}`: which tokens the teacher will write is not known before it has "
                "written; choose vocabulary: full",
            )
        weight = one.get("hidden_weight", 0)
        if isinstance(weight, (int, float)) and weight > 0:
            keys = ("students", name, "hidden_weight")
            yield Problem(
                source.where(keys),
                f"`{dotted(keys)}`: text targets hold no hidden states; choose targets of kind "
                "hidden or live",
            )
