"""The students section of a classification recipe, read from the specs of `students.kinds`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tutelage.config.specs import one_of, section
from tutelage.config.values import ModelName
from tutelage.students.classifier.fresh import FreshStudent, TokenizerKind
from tutelage.students.classifier.student import ClassifierStudent
from tutelage.students.kinds import CLASSIFIERS, StudentKind
from tutelage.tasks.classification.sections import ObjectiveOverrides, ScheduleOverrides

_VOCABULARY = ("tokenizer", "vocabulary_size", "lowercase")
_EMBEDDINGS = ("embeddings", "embeddings_layer")


class StudentSection(section(FreshStudent, omit=("labels", *_VOCABULARY, *_EMBEDDINGS))):
    """What every student may say."""

    spec_class = None  # that of the kind

    kind: str
    """The kind of student."""

    train: ScheduleOverrides | None = None
    """Keys of the `train` section that hold for this student only."""

    objective: ObjectiveOverrides | None = None
    """Keys of the `objective` section that hold for this student only."""

    def spec(self, **more: Any) -> ClassifierStudent:
        """The student described; `labels` are those of the task."""
        return super().spec(**more)

    def key_of(self, option: str) -> str:
        """The key of an option of the spec, from here on."""
        return option


class TokenizerSpec(
    section(FreshStudent, omit=("labels", "max_length", "tokenizer", *_EMBEDDINGS))
):
    """Where the student's vocabulary comes from."""

    spec_class = None  # three options of a student, and no spec

    kind: TokenizerKind = FreshStudent.tokenizer
    """Trained on the data (wordpiece, bpe, whole words), or the teacher's own, trimmed to what the
    data uses."""


class FreshSection(StudentSection):
    """What every student with fresh weights may say."""

    if TYPE_CHECKING:
        tokenizer: TokenizerSpec

    def spec_values(self) -> dict[str, Any]:
        """The options, those of the tokenizer among them."""
        vocabulary = self.tokenizer.model_dump(exclude={"kind"})
        return {**super().spec_values(), **vocabulary, "tokenizer": self.tokenizer.kind}

    def key_of(self, option: str) -> str:
        """The key of an option of the spec, from here on."""
        return f"tokenizer.{option}" if option in TokenizerSpec.model_fields else option


def _section(kind: StudentKind) -> type[StudentSection]:
    options = {option.name for option in fields(kind.spec)}
    if "tokenizer" in options:
        return section(
            kind.spec,
            name=kind.section,
            kind=kind.word,
            omit=("labels", "vocabulary_size", "lowercase"),
            base=FreshSection,
            extra={"tokenizer": (TokenizerSpec, Field(default_factory=TokenizerSpec))},
        )
    return section(
        kind.spec,
        name=kind.section,
        kind=kind.word,
        omit=("labels",),
        base=StudentSection,
        extra={"model": ModelName} if "model" in options else {},
    )


if TYPE_CHECKING:
    AnyStudent = StudentSection
else:
    AnyStudent = one_of(*map(_section, CLASSIFIERS))
