"""The students section: small transformers, recurrent networks, and models that exist already."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tutelage.config.values import ModelName, Section, refusal
from tutelage.tasks.classification.sections import ObjectiveOverrides, ScheduleOverrides

Embeddings = Literal["random", "teacher", "teacher_contextual"]


class TokenizerSpec(Section):
    """Where the student's vocabulary comes from."""

    kind: Literal["wordpiece", "bpe", "word", "teacher"] = "wordpiece"
    """Trained on the data (wordpiece, bpe, whole words), or the teacher's own, trimmed to what the
    data uses."""

    vocabulary_size: int = Field(default=8000, ge=16)
    """The most tokens of a trained vocabulary."""

    lowercase: bool = True
    """Whether capital letters are set aside; has no effect on the teacher's tokenizer."""


class StudentSpec(Section):
    """What every student may say."""

    max_length: int = Field(default=128, ge=2)
    """The most tokens of one text; longer texts are cut."""

    train: ScheduleOverrides | None = None
    """Keys of the `train` section that hold for this student only."""

    objective: ObjectiveOverrides | None = None
    """Keys of the `objective` section that hold for this student only."""


class TransformerSpec(StudentSpec):
    """A transformer encoder with fresh weights."""

    kind: Literal["transformer"]
    """The kind of student."""

    layers: int = Field(default=4, ge=1)
    """Transformer blocks."""

    hidden_size: int = Field(default=192, ge=1)
    """The width of a token's vector."""

    heads: int | None = Field(default=None, ge=1)
    """Attention heads; must divide `hidden_size`. None: about one for every 32 of the width."""

    intermediate_size: int | None = Field(default=None, ge=1)
    """The width inside each block's feed-forward part; None: twice `hidden_size`, the part being
    gated."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """The probability that a value is dropped during training."""

    tokenizer: TokenizerSpec = Field(default_factory=TokenizerSpec)
    """Where the vocabulary comes from."""

    embeddings: Embeddings = "random"
    """The first token embeddings: random, the teacher's, or what a layer of the teacher makes of
    each token (teacher_contextual); the last two reduced by PCA."""

    embeddings_layer: int | None = Field(default=None, ge=0)
    """The teacher's layer that `teacher_contextual` reads; None: one just above the middle."""

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerSpec:
        if self.heads is not None and self.hidden_size % self.heads:
            raise refusal(
                f"hidden_size {self.hidden_size} cannot be divided among {self.heads} heads; "
                "change one of them"
            )
        return self


class RecurrentSpec(StudentSpec):
    """A GRU or LSTM over token embeddings, pooled over positions."""

    kind: Literal["rnn"]
    """The kind of student."""

    cell: Literal["gru", "lstm"] = "gru"
    """The recurrent cell."""

    hidden_size: int = Field(default=128, ge=1)
    """The width of the state, for each direction."""

    embedding_size: int = Field(default=128, ge=1)
    """The width of a token's vector."""

    layers: int = Field(default=1, ge=1)
    """Recurrent layers."""

    bidirectional: bool = True
    """Whether the text is also read backwards."""

    pooling: Literal["mean", "max", "mean_max", "attention", "last"] = "mean_max"
    """How the states of all positions become one vector."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """The probability that a value is dropped during training."""

    tokenizer: TokenizerSpec = Field(default_factory=TokenizerSpec)
    """Where the vocabulary comes from."""

    embeddings: Embeddings = "random"
    """The first token embeddings: random, the teacher's, or what a layer of the teacher makes of
    each token (teacher_contextual); the last two reduced by PCA."""

    embeddings_layer: int | None = Field(default=None, ge=0)
    """The teacher's layer that `teacher_contextual` reads; None: one just above the middle."""


class PretrainedSpec(StudentSpec):
    """A sequence classifier or encoder that exists already."""

    kind: Literal["pretrained"]
    """The kind of student."""

    model: ModelName
    """A folder or a hub id."""


Student = Annotated[TransformerSpec | RecurrentSpec | PretrainedSpec, Field(discriminator="kind")]
