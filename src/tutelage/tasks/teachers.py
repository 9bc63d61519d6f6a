"""The kinds of teacher of each task, as sections of a recipe that are read from their specs.

Another kind is a spec (see `teachers.spec.TeacherSpec`) and a line in the list of each task that it
can serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from tutelage.config.ranges import annotations_of
from tutelage.config.source import Source, dotted
from tutelage.config.specs import section
from tutelage.config.values import (
    AnswersPath,
    DataPath,
    ModelName,
    PlainName,
    PromptTemplate,
    Section,
    Words,
    refusal,
)
from tutelage.errors import Problem, nearest
from tutelage.tasks.recipe import without_absent
from tutelage.teachers.api.money import Budget, Price
from tutelage.teachers.api.spec import ApiTeacherSpec
from tutelage.teachers.api.text_spec import ApiWriterSpec
from tutelage.teachers.causal.spec import CausalTeacherSpec
from tutelage.teachers.classifier.fits import FullFit, HeadFit, LoraFit, NoFit
from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
from tutelage.teachers.ensemble.spec import EnsembleTeacherSpec
from tutelage.teachers.prompted.spec import PromptedTeacherSpec
from tutelage.teachers.recorded.spec import RecordedTeacherSpec
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


class _Fit(Section):
    """What every way to fit may say."""

    @model_serializer(mode="wrap")
    def _without_absent_temperature(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), ("temperature",))


_Folds = Annotated[int, Field(ge=0), AfterValidator(_two_folds_or_none)]
_HEAD, _LORA, _FULL, _NO_FIT = (
    section(
        fit,
        base=_Fit,
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
    _teacher(
        RecordedTeacherSpec,
        file=(AnswersPath, ...),
        requests=DataPath | None,
        template=PromptTemplate,
    ),
)
"""Those that can say by themselves how likely each class of a text is."""

if TYPE_CHECKING:
    _Member = Any
else:
    _Member = _one_of(CLASS_TEACHERS, "kind")


_SHARES = annotations_of(EnsembleTeacherSpec)["weights"]


def _several(members: Any) -> Any:
    if isinstance(members, dict) and len(members) < 2:
        raise refusal(
            f"there is {len(members)} member; an ensemble has at least two: add one, or make it "
            "the teacher"
        )
    return members


def _weights(value: Any) -> Any:
    numbers = isinstance(value, dict) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and one >= 0
        for one in value.values()
    )
    if not (value is None or value == "fitted" or numbers):
        raise refusal(
            f"{value!r} is given; expected a number of at least 0 for each member, or fitted"
        )
    return value


class Ensemble(
    _teacher(
        EnsembleTeacherSpec,
        members=(
            Annotated[Mapping[PlainName, _Member], BeforeValidator(_several), Field(min_length=2)],
            ...,
        ),
        weights=Annotated[_SHARES, BeforeValidator(_weights)],
    )
):
    """Several teachers whose answers are mixed; each is labelled and kept by itself."""

    def spec_values(self) -> dict[str, Any]:
        """The options, with members as specs."""
        members = {name: member.spec() for name, member in self.members.items()}
        return {**super().spec_values(), "members": members}


def verbalizer_problems(source: Source) -> list[Problem]:
    """Words of prompted teachers, of members of an ensemble too, must speak about exactly the
    task's labels.

    Args:
        source: A classification recipe as it was read.
    """
    members = source.at("teacher", "members")
    names = members if isinstance(members, dict) else ()
    places: list[tuple[str, ...]] = [
        ("teacher",),
        *(("teacher", "members", name) for name in names),
    ]
    return [problem for place in places for problem in _verbalizer_problems(source, place)]


def _verbalizer_problems(source: Source, teacher: tuple[str, ...]) -> list[Problem]:
    keys = (*teacher, "verbalizers")
    labels, verbalizers = source.at("task", "labels"), source.at(*keys)
    labels = list(labels) if isinstance(labels, dict) else labels
    if not isinstance(labels, list) or not isinstance(verbalizers, dict):
        return []
    problems, named_by = [], f"`{dotted(keys)}`"
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
                    f"{named_by}: no label `{label}`; {meant}",
                )
            )
    spoken = set(map(same_name, verbalizers))
    if absent := [label for name, label in named.items() if name not in spoken]:
        message = (
            f"{named_by} has no word for {', '.join(absent)}; give every label a word, "
            "or drop the section"
        )
        problems.append(Problem(source.where(keys), message))
    owner: dict[str, str] = {}
    for label, words in verbalizers.items():
        for word in words if isinstance(words, list) else [words]:
            if isinstance(word, str) and owner.setdefault(word, label) != label:
                message = (
                    f"{named_by}: `{word}` stands for both {owner[word]} and {label}; "
                    "choose another"
                )
                problems.append(Problem(source.where((*keys, label)), message))
    return problems


JUDGES = tuple(
    one for one in CLASS_TEACHERS if one.spec_class in (PromptedTeacherSpec, ApiTeacherSpec)
)
"""Those that can say whether an answer is good enough: they learn from no labels."""

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
    JudgingTeacher = Any
else:
    ClassTeacher = _one_of((*CLASS_TEACHERS, Ensemble), "kind")
    TokenTeacher = _one_of(TOKEN_TEACHERS, "kind")
    JudgingTeacher = _one_of(JUDGES, "kind")
