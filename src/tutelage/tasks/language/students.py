"""The students of a causal_lm recipe: cut from the teacher, fresh transformers, recurrent networks,
existing models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tutelage.config.values import ModelName, Section, refusal
from tutelage.tasks.language.sections import LanguageObjectiveOverrides, LanguageScheduleOverrides


class LoraSpec(Section):
    """Train low-rank additions to the weights only, and add them to the weights at the end."""

    rank: int = Field(default=16, ge=1)
    """The rank of each addition."""

    alpha: float = Field(default=32, gt=0)
    """The scale of the additions, divided by the rank."""


class LanguageStudentSpec(Section):
    """What every student may say."""

    lora: LoraSpec | None = None
    """Train low-rank additions only; None: all weights."""

    train: LanguageScheduleOverrides | None = None
    """Keys of the `train` section that hold for this student only."""

    objective: LanguageObjectiveOverrides | None = None
    """Keys of the `objective` section that hold for this student only."""


class PrunedSpec(LanguageStudentSpec):
    """The teacher itself, with the parts that matter least taken out."""

    kind: Literal["pruned"]
    """The kind of student."""

    layers: int | None = Field(default=None, ge=1)
    """Blocks that are kept; None: all."""

    choice: Literal["even", "influence"] = "even"
    """Which blocks: evenly spaced, or the first two, the last, and of the others those that change
    their input the most, measured on some 4,096 tokens of the training documents."""

    hidden_size: int | None = Field(default=None, ge=1)
    """The width of a token's vector that is kept; None: all."""

    heads: int | None = Field(default=None, ge=1)
    """Attention heads that are kept in each block; None: all."""

    intermediate_size: int | None = Field(default=None, ge=1)
    """The width inside each block's feed-forward part that is kept; None: all."""

    vocabulary: Literal["full", "corpus"] = "full"
    """The teacher's tokens, or only those that the training and validation documents use; `corpus`
    needs hidden or live targets."""

    hidden_weight: float = Field(default=0.0, ge=0)
    """The weight of the distance between the last hidden states of student and teacher; needs
    hidden or live targets, and the teacher's `hidden_size`."""

    @model_validator(mode="after")
    def _something_is_pruned(self) -> PrunedSpec:
        sizes = (self.layers, self.hidden_size, self.heads, self.intermediate_size)
        if self.vocabulary == "full" and all(size is None for size in sizes):
            raise refusal(
                "nothing is taken out; give layers, hidden_size, heads, intermediate_size or "
                "vocabulary"
            )
        if self.hidden_weight and self.hidden_size is not None:
            raise refusal(
                "hidden_weight compares states of equal width; remove hidden_weight or hidden_size"
            )
        return self


class LanguageTransformerSpec(LanguageStudentSpec):
    """A Llama with fresh weights and the teacher's tokenizer."""

    kind: Literal["transformer"]
    """The kind of student."""

    layers: int = Field(default=6, ge=1)
    """Transformer blocks."""

    hidden_size: int = Field(default=384, ge=1)
    """The width of a token's vector."""

    heads: int | None = Field(default=None, ge=1)
    """Attention heads; must divide `hidden_size`. None: about one for every 64 of the width."""

    kv_heads: int | None = Field(default=None, ge=1)
    """Heads that keys and values are computed for; must divide `heads`. None: as many as heads."""

    intermediate_size: int | None = Field(default=None, ge=1)
    """The width inside each block's feed-forward part; None: about 8/3 of `hidden_size`."""

    embeddings: Literal["random", "teacher"] = "random"
    """The first token embeddings: random, or the teacher's reduced by PCA."""

    @model_validator(mode="after")
    def _heads_divide(self) -> LanguageTransformerSpec:
        if self.hidden_size % (2 * (self.heads or 1)):
            into = f"{self.heads} heads" if self.heads is not None else "heads"
            raise refusal(
                f"hidden_size {self.hidden_size} does not divide into {into} of an even width, "
                "which rotary positions "
                "need; change one of them"
            )
        if self.heads is not None and self.kv_heads is not None and self.heads % self.kv_heads:
            raise refusal(
                f"{self.heads} heads cannot share {self.kv_heads} kv_heads evenly; change one of "
                "them"
            )
        return self


class LanguageRecurrentSpec(LanguageStudentSpec):
    """A GRU or LSTM that reads and writes the teacher's tokens."""

    kind: Literal["rnn"]
    """The kind of student."""

    cell: Literal["gru", "lstm"] = "gru"
    """The recurrent cell."""

    hidden_size: int = Field(default=512, ge=1)
    """The width of the state."""

    embedding_size: int | None = Field(default=None, ge=1)
    """The width of a token's vector; None: equal to `hidden_size`."""

    layers: int = Field(default=1, ge=1)
    """Recurrent layers."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """The probability that a value is dropped during training."""

    embeddings: Literal["random", "teacher"] = "random"
    """The first token embeddings: random, or the teacher's reduced by PCA."""

    @model_validator(mode="after")
    def _takes_no_adapters(self) -> LanguageRecurrentSpec:
        if self.lora is not None:
            raise refusal(
                "lora is given, but recurrent cells take no adapters; remove it, so that all "
                "weights train"
            )
        return self


class LanguagePretrainedSpec(LanguageStudentSpec):
    """A causal language model that exists already and reads the teacher's tokens."""

    kind: Literal["pretrained"]
    """The kind of student."""

    model: ModelName
    """A folder or a hub id."""


LanguageStudent = Annotated[
    PrunedSpec | LanguageTransformerSpec | LanguageRecurrentSpec | LanguagePretrainedSpec,
    Field(discriminator="kind"),
]
