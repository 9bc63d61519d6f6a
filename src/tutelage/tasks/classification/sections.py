"""The sections of a classification recipe: task, data, targets, objective, train, evaluate, and
students, read from the specs of `students.kinds`. Teachers stand in `tasks.teachers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from tutelage.config.specs import one_of, section
from tutelage.config.values import (
    DataPath,
    DataPaths,
    FileOrShare,
    FrozenList,
    ModelName,
    Overrides,
    Section,
    not_yet,
    refusal,
)
from tutelage.data.examples.augmentation import Augmentation as AugmentationSpec
from tutelage.losses.objective import Objective as ObjectiveSpec
from tutelage.losses.table import PARAMETERS
from tutelage.students.classifier.fresh import FreshStudent, TokenizerKind
from tutelage.students.classifier.student import ClassifierStudent
from tutelage.students.kinds import CLASSIFIERS, StudentKind
from tutelage.tasks.recipe import (
    LATER_EVALUATE_KEYS,
    DataFiles,
    LoraSpec,
    OwnObjective,
    Preference,
    without_absent,
)
from tutelage.teachers.choosing import LabelChoice
from tutelage.train.settings import TrainSettings
from tutelage.types import Seed, same_name

_LABELS_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    ]
}


class Task(Section):
    """What the student must be able to do: choose one of the labels for a text."""

    kind: Literal["classification"]
    """The kind of task; causal_lm has a recipe of its own."""

    labels: Annotated[tuple[str, ...], FrozenList, WithJsonSchema(_LABELS_SCHEMA)]
    """The class names, at least two, in a list, or each with what it means:
    `{billing: "Charges, invoices, refunds", ...}`. Their order is the order of probabilities
    everywhere."""

    descriptions: Mapping[str, str] | None = None
    """What labels mean, for teachers that are asked in words; None: the names say it. Written here,
    or beside the labels."""

    @model_validator(mode="before")
    @classmethod
    def _descriptions_beside_labels(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(labels := values.get("labels"), dict):
            return values
        if values.get("descriptions") is not None:
            raise refusal("labels have descriptions beside them, and in descriptions: drop one")
        described = {label: said for label, said in labels.items() if said is not None}
        for label, said in described.items():
            if not isinstance(said, str) or not said.strip():
                raise refusal(f"the description of {label} is {said!r}; expected some words")
        return {**values, "labels": list(labels), "descriptions": described or None}

    @model_validator(mode="after")
    def _descriptions_of_labels(self) -> Task:
        for label in self.descriptions or {}:
            if label not in self.labels:
                raise refusal(
                    f"descriptions: no label {label!r}; the labels are {', '.join(self.labels)}"
                )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_descriptions(
        self, handler: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        return without_absent(handler(self), ("descriptions",))

    @field_validator("labels")
    @classmethod
    def _labels_usable(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) < 2:
            raise refusal(f"there is {len(labels)} label; a classification needs at least two")
        for label in labels:
            if not label or label != label.strip():
                raise refusal(
                    f"the label {label!r} is empty or has space around it; write it as it stands "
                    "in the data"
                )
        counts = Counter(map(same_name, labels))
        if (label := next((one for one in labels if counts[same_name(one)] > 1), None)) is not None:
            spelled = {one for one in labels if same_name(one) == same_name(label)}
            forms = (
                "" if len(spelled) == 1 else " in several Unicode normal forms, which are one name"
            )
            raise refusal(
                f"the label {label!r} is listed {counts[same_name(label)]} times{forms}; list each "
                "label once"
            )
        return labels


class Augmentation(section(AugmentationSpec)):
    """More texts for the teacher to label, made from the training texts by masking words and taking
    n-grams.
    """


class Data(DataFiles):
    """Where the examples are, and which columns hold what."""

    train: DataPath
    """The training file: csv, tsv, jsonl or parquet, with labels for some or all rows."""

    validation: FileOrShare = 0.1
    """A file, or the share of train (above 0, at most 0.5) that is set aside to choose the best
    student."""

    test: FileOrShare
    """A file, or the share of train that is set aside for the final evaluation."""

    unlabeled: DataPaths = ()
    """Files of texts that only the teacher speaks about; label columns in them are ignored."""

    text_field: str = Field(default="text", min_length=1)
    """The column that holds the text."""

    label_field: str = Field(default="label", min_length=1)
    """The column that holds the label."""

    group_field: str | None = Field(default=None, min_length=1)
    """A column whose equal values must stay on one side of every split (a customer, a document);
    None: no groups."""

    augment: Augmentation | None = None
    """Make more texts for the teacher to label; None: only the texts in the files."""


class Label(section(LabelChoice)):
    """How many of the texts that students learn from the teacher is asked about, and which."""


class Targets(Section):
    """What the teacher writes down for each example."""

    kind: Annotated[
        Literal["class_probabilities"],
        not_yet(
            ("sampled", "top_k", "hidden", "live"),
            "targets belong to the task causal_lm; a classification writes class_probabilities",
        ),
    ] = "class_probabilities"
    """One probability for every label."""


class Objective(section(ObjectiveSpec, omit=("soft_weight_final",))):
    """What training minimises."""

    @model_serializer(mode="wrap")
    def _without_absent_parameters(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), PARAMETERS)


class Schedule(section(TrainSettings, omit=("seed",))):
    """How a student is trained, without the seed, which is one for the whole run."""


class Train(Schedule):
    """How students are trained."""

    seed: Seed = 0
    """Every random choice in splitting the data, making texts from it and training students follows
    from this number. Runs with several seeds hold the data fixed only where validation and test are
    files and augment is left out."""


class Evaluate(Section):
    """What the report compares, and how carefully."""

    control: bool = False
    """Also train each student on hard labels only, everything else equal."""

    baselines: bool = True
    """Also fit TF-IDF with logistic regression, and count the majority class."""

    bootstrap_samples: int = Field(default=2000, ge=100, le=1_000_000)
    """Resamples of the test rows behind each 95 % interval."""

    latency_examples: int = Field(default=100, ge=1)
    """Test rows timed one by one for the latency."""

    prefer: Preference | None = None
    """Name the cheapest student that keeps a share of the teacher; None: `predict` takes the best
    one, whatever it costs."""

    @model_serializer(mode="wrap")
    def _without_absent_preference(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), LATER_EVALUATE_KEYS)


class ScheduleOverrides(Overrides, Schedule):
    """Keys of `train` that one student sets for itself; keys that were not given follow `train`."""


class ObjectiveOverrides(OwnObjective, Objective):
    """Keys of `objective` that one student sets for itself; keys that were not given follow
    `objective`.
    """


_VOCABULARY = ("tokenizer", "vocabulary_size", "lowercase")
_TRAINED_IN_PART = ("freeze", "head_learning_rate", "lora")
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


class PretrainedSection(StudentSection):
    """What every student that exists already may say."""

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_absent(handler(self), _TRAINED_IN_PART)


class FittedSection(StudentSection):
    """What every student may say that is fitted by itself."""

    @field_validator("train")
    @classmethod
    def _is_not_trained(cls, train: ScheduleOverrides | None) -> None:
        if train is not None:
            raise refusal(
                "this kind of student is fitted by itself, without epochs or a learning rate, so "
                "train means nothing to it: leave it out"
            )


def _section(kind: StudentKind) -> type[StudentSection]:
    if issubclass(kind.spec, FreshStudent):
        return section(
            kind.spec,
            name=kind.section,
            kind=kind.word,
            omit=("labels", "vocabulary_size", "lowercase"),
            base=FreshSection,
            extra={"tokenizer": (TokenizerSpec, Field(default_factory=TokenizerSpec))},
        )
    has_model = any(option.name == "model" for option in fields(kind.spec))
    return section(
        kind.spec,
        name=kind.section,
        kind=kind.word,
        omit=("labels",),
        base=FittedSection
        if kind.reader is not None
        else PretrainedSection
        if has_model
        else StudentSection,
        extra={"model": ModelName, "lora": LoraSpec | None} if has_model else {},
    )


if TYPE_CHECKING:
    AnyStudent = StudentSection
else:
    AnyStudent = one_of(*map(_section, CLASSIFIERS))
