"""The students that classify, as frozen descriptions: their options, and what each kind knows about
itself.

In: sizes and class names, then texts. Out: a model and a tokenizer, a size, problems (see
`classifier.student.ClassifierStudent`). Recipes and the Python interface both build students here;
importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Lt

from tutelage.students.classifier.fresh import FreshStudent, build_fresh, fresh_problems
from tutelage.students.classifier.student import refused
from tutelage.types import SILENT, Depth, Progress, Width

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.students.vocabulary.token_vectors import ModelWithTokenizer

RecurrentCell = Literal["gru", "lstm"]
RecurrentPooling = Literal["mean", "max", "mean_max", "attention", "last"]


@dataclass(frozen=True, kw_only=True)
class Transformer(FreshStudent):
    """A transformer encoder with fresh weights.

    Example:
        >>> student = Transformer(layers=1, hidden_size=32, labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    boundaries: ClassVar[bool] = True
    width_option: ClassVar[str] = "hidden_size"
    spread: ClassVar[float] = 0.3  # an encoder normalises its embeddings

    layers: Depth = 4
    """Transformer blocks."""

    hidden_size: Width = 192
    """The width of a token's vector."""

    heads: Width | None = None
    """Attention heads; must divide `hidden_size`. None: about one for every 32 of the width."""

    intermediate_size: Width | None = None
    """The width inside each block's feed-forward part; None: twice `hidden_size`, the part being
    gated."""

    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """The probability that a value is dropped during training."""

    def check_together(self) -> None:
        """Refuse heads that do not divide the width."""
        if self.heads is not None and self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} cannot be divided among {self.heads} heads; "
                "change one of them"
            )

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: ModelWithTokenizer | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model and its tokenizer, see `ClassifierStudent.build`."""
        from tutelage.students.classifier.transformer import build_transformer

        return build_fresh(
            self,
            build_transformer,
            texts,
            language_model=language_model,
            seed=seed,
            cache=cache,
            progress=progress,
        )

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """Weights multiplied at every token, and all weights."""
        del facts
        feed_forward = self.intermediate_size or 4 * self.hidden_size
        body = self.layers * (4 * self.hidden_size**2 + 2 * self.hidden_size * feed_forward)
        return body, body + self.hidden_size * self.vocabulary_size

    def problems(
        self,
        facts: ModelFacts | None,
        tokenizer: Callable[[], Any],
        *,
        texts: Sequence[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """Heads that do not fit, and what no fresh student can have."""
        del texts
        from tutelage.students.classifier.transformer import attention_heads

        message = refused(lambda: attention_heads(self.hidden_size, self.heads))
        if message is not None:
            yield "hidden_size", message
        yield from fresh_problems(self, facts, tokenizer)


@dataclass(frozen=True, kw_only=True)
class RNN(FreshStudent):
    """A GRU or LSTM over token embeddings, pooled over positions.

    Example:
        >>> student = RNN(cell="gru", hidden_size=16, embedding_size=8, labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    boundaries: ClassVar[bool] = False
    width_option: ClassVar[str] = "embedding_size"
    spread: ClassVar[float] = 0.5  # a recurrent cell reads its embeddings as they are

    cell: RecurrentCell = "gru"
    """The recurrent cell."""

    hidden_size: Width = 128
    """The width of the state, for each direction."""

    embedding_size: Width = 128
    """The width of a token's vector."""

    layers: Depth = 1
    """Recurrent layers."""

    bidirectional: bool = True
    """Whether the text is also read backwards."""

    pooling: RecurrentPooling = "mean_max"
    """How the states of all positions become one vector."""

    dropout: Annotated[float, Ge(0), Lt(1)] = 0.3
    """The probability that a value is dropped during training."""

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: ModelWithTokenizer | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model and its tokenizer, see `ClassifierStudent.build`."""
        from tutelage.students.classifier.rnn import build_rnn

        return build_fresh(
            self,
            build_rnn,
            texts,
            language_model=language_model,
            seed=seed,
            cache=cache,
            progress=progress,
        )

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """Weights multiplied at every token, and all weights."""
        del facts
        directions = 2 if self.bidirectional else 1
        inputs = self.hidden_size + self.embedding_size
        body = directions * self.layers * 4 * self.hidden_size * inputs
        return body, body + self.embedding_size * self.vocabulary_size

    def problems(
        self,
        facts: ModelFacts | None,
        tokenizer: Callable[[], Any],
        *,
        texts: Sequence[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """What no fresh student can have."""
        del texts
        return fresh_problems(self, facts, tokenizer)
