"""The static student as a frozen description: its options, and what it knows about itself.

In: options and class names, then texts and a teacher's language model. Out: a network that trains
as others do and answers without torch. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Le, Lt

from tutelage.students.classifier.fresh import (
    ClassifierEmbeddings,
    FreshStudent,
    build_fresh,
    fresh_problems,
)
from tutelage.types import SILENT, Progress, Width

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.students.vocabulary.token_vectors import ModelWithTokenizer


@dataclass(frozen=True, kw_only=True)
class Static(FreshStudent):
    """A vector for each token, their weighted mean, and a small network on top.

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
        from tutelage.students.classifier.static.network import build_static

        texts = list(texts)
        return build_fresh(
            self,
            partial(build_static, texts=texts),
            texts,
            language_model=language_model,
            seed=seed,
            cache=cache,
            progress=progress,
        )

    def weights(self) -> tuple[float, float]:
        """Weights that are added at every token, and all weights."""
        return self.size, (self.size + 1) * self.vocabulary_size + self.size * self.hidden

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
