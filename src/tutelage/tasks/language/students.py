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


class LanguageStudentSection(Section):
    """What every student may say."""

    kind: str
    """The kind of student."""

    train: LanguageScheduleOverrides | None = None
    """Keys of the `train` section that hold for this student only."""

    objective: LanguageObjectiveOverrides | None = None
    """Keys of the `objective` section that hold for this student only."""

    def spec(self, **more: Any) -> LanguageStudent:
        """The student described."""
        return super().spec(**more)


LoraSpec = section(Lora, name="LoraSpec")


def _kind(spec: type, name: str, kind: str, **types: Any) -> type[LanguageStudentSection]:
    types["lora"] = (LoraSpec | None, None)
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
