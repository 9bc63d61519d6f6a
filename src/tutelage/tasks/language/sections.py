"""The sections of a causal_lm recipe: task, data, targets, objective, train, evaluate, and
students, read from the specs of `students.kinds`. Teachers stand in `tasks.teachers`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from tutelage.config.specs import one_of, section
from tutelage.config.values import DataPath, FileOrShare, ModelName, Overrides, Section, refusal
from tutelage.losses.objective import Objective, Weight
from tutelage.students.kinds import WRITERS, StudentKind
from tutelage.students.language.student import LanguageStudent
from tutelage.targets.kinds import HiddenOptions, SampledOptions, TextOptions, TopKOptions
from tutelage.tasks.recipe import (
    LATER_EVALUATE_KEYS,
    DataFiles,
    LoraSpec,
    OwnObjective,
    Preference,
    without_absent,
)
from tutelage.tasks.teachers import JudgingTeacher
from tutelage.train.settings import LanguageTrainSettings
from tutelage.types import Seed


class LanguageTask(Section):
    """What the student must be able to do: go on with a text as the teacher would."""

    kind: Literal["causal_lm"]
    """The kind of task."""

    sequence_length: int = Field(default=512, ge=2)
    """The most tokens of one document, and of one row of packed documents."""

    long_documents: Literal["refuse", "split", "truncate"] = "refuse"
    """What becomes of a document with more tokens: an error, pieces that are read each alone
    (evaluation counts a row as one document), or its beginning."""


class LanguageData(DataFiles):
    """Where the documents are, and which columns hold what."""

    train: DataPath
    """The training file: csv, tsv, jsonl or parquet; for messages jsonl or parquet."""

    validation: FileOrShare = 0.05
    """A file, or the share of train (above 0, at most 0.5) that is set aside to choose the best
    student."""

    test: FileOrShare
    """A file, or the share of train that is set aside for the final evaluation."""

    text_field: str | None = Field(default="text", min_length=1)
    """The column that holds plain text, all of which trains; none where one of the next three is
    given."""

    prompt_field: str | None = Field(default=None, min_length=1)
    """The column that holds a prompt; goes together with `response_field`, without which text
    targets do."""

    response_field: str | None = Field(default=None, min_length=1)
    """The column that holds the answer to the prompt."""

    messages_field: str | None = Field(default=None, min_length=1)
    """The column that holds a conversation: a list of {role, content}, rendered with the teacher's
    chat template. With text targets the teacher answers it; a last message of the assistant is the
    row's own response."""

    train_on: Literal["response", "all"] = "response"
    """What the student learns to write of a prompt with its response or of a conversation: what the
    assistant says, or everything."""

    control_tokens: Literal["text", "tokens"] | None = None
    """What becomes of control tokens that texts and messages spell: they are read as the text that
    they are, or as the tokens, for documents that were rendered before. None: as text, with a
    warning where there are any."""

    @model_validator(mode="before")
    @classmethod
    def _no_text_beside_others(cls, values: Any) -> Any:
        others = ("prompt_field", "response_field", "messages_field")
        if isinstance(values, dict) and any(values.get(key) is not None for key in others):
            return {"text_field": None, **values}
        return values

    @model_validator(mode="after")
    def _read_one_way(self) -> LanguageData:
        if self.response_field is not None and self.prompt_field is None:
            raise refusal(
                "response_field is given without prompt_field; name the column of both, or use "
                "text_field"
            )
        ways = ("text_field", "prompt_field", "messages_field")
        given = [key for key in ways if getattr(self, key) is not None]
        if len(given) != 1:
            said = " and ".join(given) + " are given" if given else "no column is named"
            raise refusal(
                f"{said}; name one of text_field, prompt_field with response_field, or "
                "messages_field"
            )
        return self


class TokenTargetsSection(Section):
    """What the teacher writes down for each token."""

    kind: str
    """The kind of targets."""

    def encoding(self) -> dict[str, Any]:
        """What the store is told."""
        return self.spec().encoding()


class SampledTargetsSpec(section(SampledOptions, kind="sampled", base=TokenTargetsSection)):
    """Likely tokens with their exact probability, and a fair sample of the others: unbiased, and
    the fewest bytes.
    """

    @model_validator(mode="before")
    @classmethod
    def _no_threshold_beside_budget(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("budget") is not None:
            return {"threshold": None, **values}
        return values


class TopKTargetsSpec(section(TopKOptions, kind="top_k", base=TokenTargetsSection)):
    """The k most likely tokens and the mass of the rest, trained as k + 1 buckets."""


class HiddenTargetsSpec(section(HiddenOptions, kind="hidden", base=TokenTargetsSection)):
    """The teacher's last hidden states in 8 bits, and its output matrix once: any divergence, many
    bytes.
    """


class LiveTargetsSpec(Section):
    """Nothing is stored: the teacher runs beside the student, in every epoch again."""

    kind: Literal["live"]
    """The kind of targets."""


class Judge(Section):
    """A second teacher that says whether an answer of the first is good enough for its prompt."""

    teacher: JudgingTeacher
    """Who is asked, yes or no: a model here (`kind: prompted`), or one behind an API, both as
    teachers of a classification are written. Its `instruction` says what good enough means; None:
    that the answer does what the prompt asks, and is right."""

    threshold: float = Field(default=0.5, gt=0, lt=1)
    """The least probability of yes with which an answer is kept."""

    @model_validator(mode="after")
    def _nothing_to_calibrate_on(self) -> Judge:
        if getattr(self.teacher, "calibration", "none") not in ("none", "contextual"):
            raise refusal(
                f"teacher.calibration is {self.teacher.calibration}, which needs training rows, "
                "and a judge has none: choose none or contextual"
            )
        return self


LATER_TEXT_KEYS = ("languages", "judge")
"""Keys of text targets that recipes of before did not have."""


class TextTargetsSpec(section(TextOptions, kind="text")):
    """The teacher writes answers to prompts, and students learn them as text: sequence-level
    distillation, for any teacher that writes.
    """

    kind: Literal["text"]
    """The kind of targets."""

    judge: Judge | None = None
    """A second teacher that reads each answer which the filters let through, and leaves out those
    that are not good enough; None: nobody does."""

    @model_serializer(mode="wrap")
    def _without_absent_filters(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), LATER_TEXT_KEYS)


TokenTargets = Annotated[
    SampledTargetsSpec | TopKTargetsSpec | HiddenTargetsSpec | LiveTargetsSpec | TextTargetsSpec,
    Field(discriminator="kind"),
]


class LanguageObjective(section(Objective)):
    """What training minimises: a divergence from the teacher, and the cross-entropy to the text
    itself.
    """

    soft_weight: Weight = 0.8
    """The weight of the soft targets; the next token of the text weighs the rest."""


class LanguageSchedule(section(LanguageTrainSettings, omit=("seed", "sequence_length", "betas"))):
    """How a student is trained, without the seed, which is one for the whole run."""


class LanguageTrain(LanguageSchedule):
    """How students are trained."""

    seed: Seed = 0
    """Every random choice in splitting the data, drawing targets and training students follows from
    this number; targets that a run beside has drawn are taken over as they are. Runs with several
    seeds hold the data fixed only where validation and test are files."""


class LanguageEvaluate(Section):
    """What the report compares, and how carefully."""

    control: bool = False
    """Also train each student on the text alone, everything else equal."""

    bootstrap_samples: int = Field(default=2000, ge=100, le=1_000_000)
    """Resamples of the test documents behind each 95 % interval."""

    generation_prompts: int = Field(default=4, ge=0)
    """Beginnings of test documents that everyone goes on with, side by side in the report."""

    generation_tokens: int = Field(default=64, ge=1, le=10_000)
    """Tokens written after each of them."""

    prefer: Preference | None = None
    """Name the cheapest student that keeps a share of the teacher; None: `predict` takes the best
    one, whatever it costs."""

    @model_serializer(mode="wrap")
    def _without_absent_preference(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), LATER_EVALUATE_KEYS)


class LanguageScheduleOverrides(Overrides, LanguageSchedule):
    """Keys of `train` that one student sets for itself; keys that were not given follow `train`."""

    def given(self) -> dict[str, Any]:
        """The keys that were given; `epochs` sets a common `token_budget` aside, and the other way
        round.
        """
        given = super().given()
        if "epochs" in given:
            given.setdefault("token_budget", None)
        if given.get("token_budget") is not None:
            given["epochs"] = 1
        return given


class LanguageObjectiveOverrides(OwnObjective, LanguageObjective):
    """Keys of `objective` that one student sets for itself; keys that were not given follow
    `objective`.
    """


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
