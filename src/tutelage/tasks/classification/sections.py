"""The sections of a classification recipe that have one form only: task, data, targets, objective,
train, evaluate.

Teachers and students, which come in kinds, have files of their own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from tutelage.config.specs import section
from tutelage.config.values import (
    DataPath,
    DataPaths,
    FileOrShare,
    FrozenList,
    Overrides,
    Section,
    not_yet,
    refusal,
)
from tutelage.data.examples.augmentation import Augmentation as AugmentationSpec
from tutelage.losses.objective import Objective as ObjectiveSpec
from tutelage.losses.table import PARAMETERS


class Task(Section):
    """What the student must be able to do: choose one of the labels for a text."""

    kind: Literal["classification"]
    """The kind of task; causal_lm has a recipe of its own."""

    labels: Annotated[tuple[str, ...], FrozenList]
    """The class names, at least two. Their order is the order of probabilities everywhere."""

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
            if labels.count(label) > 1:
                raise refusal(
                    f"the label {label!r} is listed {labels.count(label)} times; list each label "
                    "once"
                )
        return labels


class Augmentation(section(AugmentationSpec)):
    """More texts for the teacher to label, made from the training texts by masking words and taking
    n-grams.
    """


class Data(Section):
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
        # What recipes of before did not have stays out of fingerprints where it is not given.
        return {
            key: value
            for key, value in handler(self).items()
            if value is not None or key not in PARAMETERS
        }


class Schedule(Section):
    """How a student is trained, without the seed, which is one for the whole run."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the transfer set."""

    batch_size: int = Field(default=64, ge=1)
    """Examples in one step of the optimizer's inner loop."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """The highest learning rate of AdamW, reached after warm-up, then lowered along a cosine."""

    embedding_learning_rate: float | None = Field(default=None, gt=0)
    """The same for token embeddings; None: equal to `learning_rate`."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay of AdamW."""

    warmup_share: float = Field(default=0.1, ge=0, le=1)
    """The share of all steps during which the learning rate rises."""

    clip_norm: float = Field(default=1.0, gt=0)
    """The largest norm of the gradient."""

    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better validation loss; None: train all epochs."""

    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """The probability that an input token is hidden from the student during training."""

    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """The decay of a moving average of the weights that is evaluated instead of them; None: no
    average."""

    checkpoint_every_steps: int = Field(default=200, ge=1)
    """Optimizer steps between two checkpoints."""

    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches whose gradients are added before one optimizer step."""


class Train(Schedule):
    """How students are trained."""

    seed: int = Field(default=0, ge=0)
    """Every random choice in splitting the data, making texts from it and training students follows
    from this number. Runs with several seeds hold the data fixed only where validation and test are
    files and augment is left out."""


class Evaluate(Section):
    """What the report compares, and how carefully."""

    control: bool = False
    """Also train each student on hard labels only, everything else equal."""

    baselines: bool = True
    """Also fit TF-IDF with logistic regression, and count the majority class."""

    bootstrap_samples: int = Field(default=2000, ge=100)
    """Resamples of the test rows behind each 95 % interval."""

    latency_examples: int = Field(default=100, ge=1)
    """Test rows timed one by one for the latency."""


class ScheduleOverrides(Overrides, Schedule):
    """Keys of `train` that one student sets for itself; keys that were not given follow `train`."""


class ObjectiveOverrides(Overrides, Objective):
    """Keys of `objective` that one student sets for itself; keys that were not given follow
    `objective`.
    """
