"""The static student as a frozen description: its options, and what it knows about itself.

In: options and class names, then texts and a teacher's language model. Out: a network that trains
as others do and answers without torch. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Le, Lt

from tutelage.students.classifier.fresh import (
    ClassifierEmbeddings,
    FreshStudent,
    fresh_problems,
    fresh_tokenizer,
    start_from_teacher,
)
from tutelage.types import SILENT, Progress, Width

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.students.vocabulary.token_vectors import ModelWithTokenizer


@dataclass(frozen=True, kw_only=True)
class Static(FreshStudent):
    """A vector for each token and common pair of tokens, their weighted mean, and a small network.

    Example:
        >>> student = Static(size=8, embeddings="random", labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    boundaries: ClassVar[bool] = False
    width_option: ClassVar[str] = "size"
    spread: ClassVar[float] = 0.5

    size: Width = 256
    """The width of a token's vector."""

    hidden: Annotated[int, Ge(0), Le(1_000_000)] = 128
    """The width of the hidden layer on top; 0: none, so that every score is a sum over tokens."""

    bigrams: Annotated[int, Ge(0), Le(1_000_000)] = 4000
    """The most pairs of neighbouring tokens that have a vector of their own; the commonest."""

    dropout: Annotated[float, Ge(0), Lt(1)] = 0.2
    """The probability that a value is dropped during training."""

    embeddings: ClassifierEmbeddings = "teacher_contextual"
    """The first token vectors: random, the teacher's, or what a layer of the teacher makes of each
    token (teacher_contextual); the last two reduced by PCA."""

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
        from tutelage.students.classifier.static.network import build_static, count_terms

        texts = list(texts)
        tokenizer = fresh_tokenizer(self, texts, language_model)
        tokens, pairs = count_terms(tokenizer, texts, most_pairs=self.bigrams)
        model = build_static(self, tokenizer, tokens, pairs, seed=seed)
        start_from_teacher(
            self,
            model,
            tokenizer,
            texts,
            pairs=pairs,
            language_model=language_model,
            seed=seed,
            cache=cache,
            progress=progress,
        )
        return model, tokenizer

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """Weights that are added at every token, and all weights."""
        del facts
        rows = self.vocabulary_size + self.bigrams
        return 2 * self.size, (self.size + 1) * rows + self.size * self.hidden

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
