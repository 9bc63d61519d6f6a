"""The students section of a causal_lm recipe, read from the specs of `students.kinds`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tutelage.config.specs import one_of, section
from tutelage.config.values import ModelName, Section
from tutelage.students.kinds import WRITERS, StudentKind
from tutelage.students.language.lora import Lora
from tutelage.students.language.student import LanguageStudent
from tutelage.tasks.language.sections import LanguageObjectiveOverrides, LanguageScheduleOverrides


class LoraSpec(section(Lora)):
    """Train low-rank additions to the weights only, and add them to the weights at the end."""


class LanguageStudentSection(Section):
    """What every student may say."""

    kind: str
    """The kind of student."""

    lora: LoraSpec | None = None
    """Train low-rank additions only; None: all weights."""

    train: LanguageScheduleOverrides | None = None
    """Keys of the `train` section that hold for this student only."""

    objective: LanguageObjectiveOverrides | None = None
    """Keys of the `objective` section that hold for this student only."""

    def spec(self, **more: Any) -> LanguageStudent:
        """The student described."""
        return super().spec(**more)


def _section(kind: StudentKind) -> type[LanguageStudentSection]:
    named = any(option.name == "model" for option in fields(kind.spec))
    return section(
        kind.spec,
        name=kind.section,
        kind=kind.word,
        base=LanguageStudentSection,
        extra={"model": ModelName} if named else {},
    )


if TYPE_CHECKING:
    AnyLanguageStudent = LanguageStudentSection
else:
    AnyLanguageStudent = one_of(*map(_section, WRITERS))
