"""The sections of a causal_lm recipe: task, data, teacher, targets, objective, train, evaluate.

Students, which come in more kinds, have a file of their own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tutelage.config.specs import section
from tutelage.config.values import DataPath, FileOrShare, Overrides, Section, refusal
from tutelage.losses.objective import Objective, Weight


class LanguageTask(Section):
    """What the student must be able to do: go on with a text as the teacher would."""

    kind: Literal["causal_lm"]
    """The kind of task."""

    sequence_length: int = Field(default=512, ge=2)
    """The most tokens of one document, and of one row of packed documents."""

    long_documents: Literal["refuse", "split", "truncate"] = "refuse"
    """What becomes of a document with more tokens: an error, pieces that are read each alone
    (evaluation counts a row as one document), or its beginning."""


class LanguageData(Section):
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
    """The column that holds a prompt; goes together with `response_field`."""

    response_field: str | None = Field(default=None, min_length=1)
    """The column that holds the answer to the prompt."""

    messages_field: str | None = Field(default=None, min_length=1)
    """The column that holds a conversation: a list of {role, content}, rendered with the teacher's
    chat template."""

    train_on: Literal["response", "all"] = "response"
    """What the student learns to write of a prompt with its response or of a conversation: what the
    assistant says, or everything."""

    @model_validator(mode="before")
    @classmethod
    def _no_text_beside_others(cls, values: Any) -> Any:
        others = ("prompt_field", "response_field", "messages_field")
        if isinstance(values, dict) and any(values.get(key) is not None for key in others):
            return {"text_field": None, **values}
        return values

    @model_validator(mode="after")
    def _read_one_way(self) -> LanguageData:
        if (self.prompt_field is None) != (self.response_field is None):
            given, absent = ("prompt_field", "response_field")[
                :: 1 if self.prompt_field is not None else -1
            ]
            raise refusal(
                f"{given} is given without {absent}; name the column of both, or use text_field"
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


class SampledTargetsSpec(Section):
    """Likely tokens with their exact probability, and a fair sample of the others: unbiased, and
    the fewest bytes.
    """

    kind: Literal["sampled"]
    """The kind of targets."""

    threshold: float | None = Field(default=0.05, gt=0, lt=1)
    """Tokens at least so probable are kept exactly; lower keeps more. None where `budget` is
    given."""

    budget: int | None = Field(default=None, ge=1, le=256)
    """Keep so many tokens at every position, in place of a threshold."""

    @model_validator(mode="before")
    @classmethod
    def _no_threshold_beside_budget(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("budget") is not None:
            return {"threshold": None, **values}
        return values

    @model_validator(mode="after")
    def _one_of_two(self) -> SampledTargetsSpec:
        if (self.threshold is None) == (self.budget is None):
            said = (
                "neither threshold nor budget is"
                if self.budget is None
                else "threshold and budget are both"
            )
            raise refusal(f"{said} given; expected one of them")
        return self

    def encoding(self) -> dict[str, Any]:
        """What the store is told: `{"threshold": ...}` or `{"budget": ...}`."""
        return {"threshold": self.threshold} if self.budget is None else {"budget": self.budget}


class TopKTargetsSpec(Section):
    """The k most likely tokens and the mass of the rest, trained as k + 1 buckets."""

    kind: Literal["top_k"]
    """The kind of targets."""

    k: int = Field(default=50, ge=1, le=65_535)
    """How many tokens."""

    def encoding(self) -> dict[str, Any]:
        """What the store is told: `{"k": ...}`."""
        return {"k": self.k}


class HiddenTargetsSpec(Section):
    """The teacher's last hidden states in 8 bits, and its output matrix once: any divergence, many
    bytes.
    """

    kind: Literal["hidden"]
    """The kind of targets."""

    def encoding(self) -> dict[str, Any]:
        """What the store is told: `{"bits": 8}`."""
        return {"bits": 8}


class LiveTargetsSpec(Section):
    """Nothing is stored: the teacher runs beside the student, in every epoch again."""

    kind: Literal["live"]
    """The kind of targets."""


TokenTargets = Annotated[
    SampledTargetsSpec | TopKTargetsSpec | HiddenTargetsSpec | LiveTargetsSpec,
    Field(discriminator="kind"),
]


class LanguageObjective(section(Objective)):
    """What training minimises: a divergence from the teacher, and the cross-entropy to the text
    itself.
    """

    soft_weight: Weight = 0.8
    """The weight of the soft targets; the next token of the text weighs the rest."""


class LanguageSchedule(Section):
    """How a student is trained, without the seed, which is one for the whole run."""

    epochs: int = Field(default=1, ge=1)
    """Passes over the training documents; not to be given together with `token_budget`."""

    token_budget: int | None = Field(default=None, ge=1)
    """Train on so many tokens, repeated ones counted again, in place of `epochs`; None: epochs
    count."""

    batch_tokens: int = Field(default=8192, ge=1)
    """The most tokens in one optimizer step; a single longer document is a step of its own."""

    micro_batch_tokens: int = Field(default=2048, ge=1)
    """The most tokens that go through the student at once; a matter of memory that changes no
    result but for rounding and the draws of dropout."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """The highest learning rate of AdamW, reached after warm-up."""

    embedding_learning_rate: float | None = Field(default=None, gt=0)
    """The same for token embeddings; None: equal to `learning_rate`."""

    schedule: Literal["cosine", "wsd"] = "cosine"
    """How the learning rate falls: along a cosine, or held and lowered at the end (warm-up, stable,
    decay)."""

    decay_share: float = Field(default=0.2, ge=0, le=1)
    """The share of all steps over which wsd lowers the learning rate and the soft weight becomes
    final."""

    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """The share of all steps during which the learning rate rises."""

    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay of AdamW."""

    clip_norm: float = Field(default=1.0, gt=0)
    """The largest norm of the gradient."""

    evaluate_every_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between two looks at the validation loss; None: after each epoch."""

    checkpoint_every_steps: int = Field(default=100, ge=1)
    """Optimizer steps between two checkpoints."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The number format of matrix products; auto: bfloat16 where the machine is fast at it."""

    @model_validator(mode="after")
    def _epochs_or_budget(self) -> LanguageSchedule:
        # epochs: 1 is what a recipe with a budget is written out with.
        if self.token_budget is not None and self.epochs != 1:
            raise refusal(
                f"epochs ({self.epochs}) and token_budget ({self.token_budget:,}) both say when to "
                "stop; remove one"
            )
        return self


class LanguageTrain(LanguageSchedule):
    """How students are trained."""

    seed: int = Field(default=0, ge=0)
    """Every random choice in splitting the data, drawing targets and training students follows from
    this number; targets that a run beside has drawn are taken over as they are. Runs with several
    seeds hold the data fixed only where validation and test are files."""


class LanguageEvaluate(Section):
    """What the report compares, and how carefully."""

    control: bool = False
    """Also train each student on the text alone, everything else equal."""

    bootstrap_samples: int = Field(default=2000, ge=100)
    """Resamples of the test documents behind each 95 % interval."""

    generation_prompts: int = Field(default=4, ge=0)
    """Beginnings of test documents that everyone goes on with, side by side in the report."""

    generation_tokens: int = Field(default=64, ge=1)
    """Tokens written after each of them."""


class LanguageScheduleOverrides(Overrides, LanguageSchedule):
    """Keys of `train` that one student sets for itself; keys that were not given follow `train`."""


class LanguageObjectiveOverrides(Overrides, LanguageObjective):
    """Keys of `objective` that one student sets for itself; keys that were not given follow
    `objective`.
    """
