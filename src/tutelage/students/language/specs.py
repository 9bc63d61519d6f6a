"""The students that write with fresh weights: their options, and what each kind knows about itself.

In: sizes, then the teacher's tokenizer. Out: a causal language model, its configuration, problems
(see `language.student.LanguageStudent`). Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from tutelage.students.classifier.specs import RecurrentCell
from tutelage.students.language.lora import Adaptable
from tutelage.students.language.student import (
    LanguageStudent,
    Teaching,
    given,
    size_problems,
)
from tutelage.types import Depth, Width

LanguageEmbeddings = Literal["random", "teacher"]


@dataclass(frozen=True, kw_only=True)
class LanguageTransformer(Adaptable):
    """A Llama with fresh weights and the teacher's tokenizer."""

    trims_vocabulary: bool = field(default=False, init=False)
    hidden_weight: float = field(default=0.0, init=False)

    layers: Depth = 6
    """Transformer blocks."""

    hidden_size: Width = 384
    """The width of a token's vector."""

    heads: Width | None = None
    """Attention heads; must divide `hidden_size`. None: about one for every 64 of the width."""

    kv_heads: Width | None = None
    """Heads that keys and values are computed for; must divide `heads`. None: as many as heads."""

    intermediate_size: Width | None = None
    """The width inside each block's feed-forward part; None: about 8/3 of `hidden_size`."""

    embeddings: LanguageEmbeddings = "random"
    """The first token embeddings: random, or the teacher's reduced by PCA."""

    @property
    def needs_weights(self) -> bool:
        """Whether the first embeddings are the teacher's."""
        return self.embeddings == "teacher"

    def check_together(self) -> None:
        """Refuse heads that do not divide the width evenly, and keys that heads cannot share."""
        if self.hidden_size % (2 * (self.heads or 1)):
            into = f"{self.heads} heads" if self.heads is not None else "heads"
            raise ValueError(
                f"hidden_size {self.hidden_size} does not divide into {into} of an even width, "
                "which rotary positions need; change one of them"
            )
        if self.heads is not None and self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(
                f"{self.heads} heads cannot share {self.kv_heads} kv_heads evenly; change one of "
                "them"
            )

    def build(
        self,
        tokenizer: Any,
        *,
        sequence_length: int,
        language_model: Any = None,
        calibration: Sequence[Any] = (),
        seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> Any:
        """A fresh Llama, see `LanguageStudent.build`."""
        from tutelage.students.language.transformer import build_language_transformer

        del calibration, say
        model = build_language_transformer(
            self, tokenizer, sequence_length=sequence_length, seed=seed
        )
        return _with_embeddings(self, model, language_model)

    def config(self, teacher: Any, *, vocabulary: int | None = None) -> Any:
        """That of such a Llama."""
        from tutelage.students.language.transformer import language_transformer_config

        tokens = _tokens(teacher.get_text_config(), vocabulary)
        return language_transformer_config(self, tokens)

    def problems(self, teaching: Teaching, *, name: str) -> Iterator[tuple[str, str]]:
        """Sizes that do not divide, embeddings that the teacher does not have."""
        del name
        yield from size_problems(self, teaching)
        yield from _embedding_problems(self, teaching, width=self.hidden_size)

    def starts_from(self) -> None:
        """None: all weights are fresh."""
        return


@dataclass(frozen=True, kw_only=True)
class LanguageRNN(Adaptable):
    """A GRU or LSTM that reads and writes the teacher's tokens."""

    trims_vocabulary: bool = field(default=False, init=False)
    hidden_weight: float = field(default=0.0, init=False)

    cell: RecurrentCell = "gru"
    """The recurrent cell."""

    hidden_size: Width = 512
    """The width of the state."""

    embedding_size: Width | None = None
    """The width of a token's vector; None: equal to `hidden_size`."""

    layers: Depth = 1
    """Recurrent layers."""

    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """The probability that a value is dropped during training."""

    embeddings: LanguageEmbeddings = "random"
    """The first token embeddings: random, or the teacher's reduced by PCA."""

    @property
    def needs_weights(self) -> bool:
        """Whether the first embeddings are the teacher's."""
        return self.embeddings == "teacher"

    @property
    def width(self) -> int:
        """The width of a token's vector."""
        return self.hidden_size if self.embedding_size is None else self.embedding_size

    def check_together(self) -> None:
        """Refuse adapters."""
        if self.lora is not None:
            raise ValueError(
                "lora is given, but recurrent cells take no adapters; remove it, so that all "
                "weights train"
            )

    def build(
        self,
        tokenizer: Any,
        *,
        sequence_length: int,
        language_model: Any = None,
        calibration: Sequence[Any] = (),
        seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> Any:
        """A fresh recurrent language model, see `LanguageStudent.build`; it reads any length."""
        from tutelage.students.language.rnn import build_language_rnn

        del sequence_length, calibration, say
        model = build_language_rnn(self, tokenizer, seed=seed)
        return _with_embeddings(self, model, language_model)

    def config(self, teacher: Any, *, vocabulary: int | None = None) -> Any:
        """That of such a network."""
        from tutelage.students.configurations import RecurrentLanguageConfig

        return RecurrentLanguageConfig(
            vocab_size=_tokens(teacher.get_text_config(), vocabulary),
            cell=self.cell,
            hidden_size=self.hidden_size,
            embedding_size=self.width,
            layers=self.layers,
            dropout=self.dropout,
        )

    def problems(self, teaching: Teaching, *, name: str) -> Iterator[tuple[str, str]]:
        """Embeddings that the teacher does not have."""
        del name
        yield from size_problems(self, teaching)
        yield from _embedding_problems(self, teaching, width=self.width)

    def starts_from(self) -> None:
        """None: all weights are fresh."""
        return


def _tokens(whole: Any, vocabulary: int | None) -> int:
    return whole.vocab_size if vocabulary is None else vocabulary


def _with_embeddings(student: LanguageStudent, model: Any, language_model: Any) -> Any:
    """The model, with the teacher's embeddings reduced to its width where they are asked for."""
    from tutelage.students.vocabulary.embeddings import language_embeddings, set_language_embeddings

    if student.needs_weights:
        width = int(model.get_input_embeddings().weight.shape[1])
        set_language_embeddings(model, language_embeddings(given(language_model), width=width))
    return model


def _embedding_problems(
    student: LanguageStudent, teaching: Teaching, *, width: int
) -> Iterator[tuple[str, str]]:
    """Embeddings that the teacher does not have."""
    if not student.needs_weights:
        return
    config, tokenizer = teaching.config, teaching.tokenizer
    if teaching.has_tokens_without_rows:
        yield (
            "embeddings",
            f"the teacher has embeddings for {config.vocab_size:,} of the {len(tokenizer):,} "
            "tokens of its tokenizer only: resize and save it again, or set embeddings: random",
        )
    if width > config.hidden_size:
        yield (
            "",
            f"is {width} wide but the teacher's embeddings have {config.hidden_size} values, and "
            "none can be made up: take a narrower student or embeddings: random",
        )
