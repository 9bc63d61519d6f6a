"""The kinds of teacher of each task, as sections of a recipe that are read from their specs.

Another kind is a spec (see `teachers.spec.TeacherSpec`) and a line in the list of each task that it
can serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import AfterValidator, Field

from tutelage.config.ranges import annotations_of
from tutelage.config.source import Source
from tutelage.config.specs import section
from tutelage.config.values import ModelName, PromptTemplate, Words, refusal
from tutelage.errors import Problem, nearest
from tutelage.teachers.api.money import Budget, Price
from tutelage.teachers.api.spec import ApiTeacherSpec
from tutelage.teachers.api.text_spec import ApiWriterSpec
from tutelage.teachers.causal.spec import CausalTeacherSpec
from tutelage.teachers.classifier.fits import FullFit, HeadFit, LoraFit, NoFit
from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
from tutelage.teachers.prompted.spec import PromptedTeacherSpec
from tutelage.types import same_name


def _teacher(spec: Any, *, own_first: bool = False, **extra: Any) -> Any:
    """The section of one kind: its kind must be said, its model may be a path beside the recipe."""
    extra = {"kind": (annotations_of(spec)["kind"], ...), **extra}
    if spec.has_weights and any(option.name == "model" for option in fields(spec)):
        extra["model"] = ModelName
    return section(spec, kind=spec.kind, extra=extra, own_first=own_first)


def _one_of(sections: Sequence[Any], key: str) -> Any:
    """The annotation of a section that is one of several, chosen by a key."""
    if len(sections) == 1:
        return sections[0]
    return Annotated[Union[tuple(sections)], Field(discriminator=key)]  # noqa: UP007


def _two_folds_or_none(folds: int) -> int:
    if folds == 1:
        raise refusal("one fold leaves nothing to fit on; expected 0 (off) or at least 2")
    return folds


_Folds = Annotated[int, Field(ge=0), AfterValidator(_two_folds_or_none)]
_HEAD, _LORA, _FULL, _NO_FIT = (
    section(
        fit,
        extra={"method": (annotations_of(fit)["method"], ...)}
        | ({"cross_fit": _Folds} if hasattr(fit, "cross_fit") else {}),
    )
    for fit in (HeadFit, LoraFit, FullFit, NoFit)
)

CLASS_TEACHERS = (
    _teacher(
        PromptedTeacherSpec,
        template=PromptTemplate,
        verbalizers=Mapping[str, Words] | None,
    ),
    _teacher(
        ClassifierTeacherSpec,
        fit=(
            _one_of((_HEAD, _LORA, _FULL, _NO_FIT), "method"),
            Field(default_factory=lambda: _HEAD(method="head")),
        ),
    ),
    _teacher(
        ApiTeacherSpec,
        own_first=True,
        groups=Literal["auto"] | Mapping[str, Words] | None,
        verbalizers=Mapping[str, Words] | None,
        price=section(Price) | None,
        budget=section(Budget) | None,
    ),
)
"""Those that can say how likely each class of a text is."""


def verbalizer_problems(source: Source) -> list[Problem]:
    """Words of a prompted teacher must speak about exactly the task's labels.

    Args:
        source: A classification recipe as it was read.
    """
    labels, verbalizers = source.at("task", "labels"), source.at("teacher", "verbalizers")
    labels = list(labels) if isinstance(labels, dict) else labels
    if not isinstance(labels, list) or not isinstance(verbalizers, dict):
        return []
    keys, problems = ("teacher", "verbalizers"), []
    named = {same_name(label): label for label in labels if isinstance(label, str)}
    for label in verbalizers:
        if same_name(label) not in named:
            guess = nearest(label, named.values())
            meant = (
                f"did you mean `{guess}`?"
                if guess
                else f"the labels are {', '.join(named.values())}"
            )
            problems.append(
                Problem(
                    source.where((*keys, label)),
                    f"`teacher.verbalizers`: no label `{label}`; {meant}",
                )
            )
    spoken = set(map(same_name, verbalizers))
    if absent := [label for name, label in named.items() if name not in spoken]:
        message = (
            f"`teacher.verbalizers` has no word for {', '.join(absent)}; give every label a word, "
            "or drop the section"
        )
        problems.append(Problem(source.where(keys), message))
    owner: dict[str, str] = {}
    for label, words in verbalizers.items():
        for word in words if isinstance(words, list) else [words]:
            if isinstance(word, str) and owner.setdefault(word, label) != label:
                message = (
                    f"`teacher.verbalizers`: `{word}` stands for both {owner[word]} and {label}; "
                    "choose another"
                )
                problems.append(Problem(source.where((*keys, label)), message))
    return problems


TOKEN_TEACHERS = (
    _teacher(CausalTeacherSpec),
    _teacher(
        ApiWriterSpec,
        own_first=True,
        tokenizer_of=ModelName,
        price=section(Price) | None,
        budget=section(Budget) | None,
    ),
)
"""Those that can say how likely each next token of a document is, or that write documents."""

if TYPE_CHECKING:
    ClassTeacher = Any  # made while importing, out of a type checker's sight
    TokenTeacher = Any
else:
    ClassTeacher = _one_of(CLASS_TEACHERS, "kind")
    TokenTeacher = _one_of(TOKEN_TEACHERS, "kind")
