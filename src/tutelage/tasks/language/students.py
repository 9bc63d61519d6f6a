"""The students section of a causal_lm recipe: which kinds of student there are.

The options of a kind, and what it knows about itself, are in its spec in `students.language`. A
further kind is one further line in `KINDS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tutelage.config.specs import one_of, section
from tutelage.config.values import ModelName, Section
from tutelage.students.language.pretrained import LanguagePretrained
from tutelage.students.language.pruned import Pruned
from tutelage.students.language.specs import LanguageRNN, LanguageTransformer
from tutelage.students.language.student import LanguageStudent, Lora
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


def _kind(spec: type, name: str, kind: str, **types: Any) -> type[LanguageStudentSection]:
    return section(spec, name=name, kind=kind, base=LanguageStudentSection, extra=types)


KINDS: tuple[type[LanguageStudentSection], ...] = (
    _kind(Pruned, "PrunedSpec", kind="pruned"),
    _kind(LanguageTransformer, "LanguageTransformerSpec", kind="transformer"),
    _kind(LanguageRNN, "LanguageRecurrentSpec", kind="rnn"),
    _kind(LanguagePretrained, "LanguagePretrainedSpec", kind="pretrained", model=ModelName),
)
"""The kinds of student. Their names are part of fingerprints and of the JSON schema."""

if TYPE_CHECKING:
    AnyLanguageStudent = LanguageStudentSection
else:
    AnyLanguageStudent = one_of(*KINDS)
