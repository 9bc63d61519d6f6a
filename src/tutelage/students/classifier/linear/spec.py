"""The linear student as a frozen description: its options, and what it knows about itself.

In: options and class names, then texts and soft targets. Out: a classifier whose every answer is a
sum of weights that can be read. Importing this file imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from tutelage.config.ranges import check_options
from tutelage.students.classifier.fresh import FreshStudent
from tutelage.students.classifier.student import Fitted
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.data.examples.collate import EncodedSet
    from tutelage.losses import Objective
    from tutelage.models import ModelFacts
    from tutelage.students.classifier.linear.model import LinearClassifier
    from tutelage.students.classifier.linear.ngrams import NGrams

Penalty = Literal["l2", "l1"]

STRENGTHS: dict[Penalty, tuple[float, ...]] = {
    "l2": (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5),
    "l1": (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5),
}
"""The strengths that validation rows choose from."""

SECONDS_A_VALUE = 2e-7
"""Of the fit for one strength, for each value of the features and class."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A weight for each n-gram and class: logistic regression on soft targets.

    Example:
        >>> student = Linear(labels=["bad", "good"], min_texts=1)
        >>> model, ngrams = student.build(["a good film", "a bad film"])
    """

    needs_weights: bool = field(default=False, init=False)
    needs_tokenizer: bool = field(default=False, init=False)

    labels: Sequence[str]
    """Class names in the order of the logits."""

    max_length: Annotated[int, Ge(2)] = FreshStudent.max_length
    """The most words of one text; longer texts are cut."""

    words: Annotated[int, Ge(0), Le(5)] = 2
    """The longest n-grams of words; 0: none."""

    characters: Annotated[int, Ge(0), Le(8)] = 5
    """The longest n-grams of characters inside words, from 3 on; 0: none."""

    lowercase: bool = True
    """Whether capital letters are set aside."""

    min_texts: Annotated[int, Ge(1)] = 2
    """How many texts an n-gram must stand in."""

    max_ngrams: Annotated[int, Ge(1), Le(1_000_000)] = 20_000
    """The most n-grams of words, and as many of characters; the commonest stay."""

    penalty: Penalty = "l2"
    """What weights cost: their squares (l2), or their magnitudes (l1, which leaves n-grams that
    tell little without a weight)."""

    strength: Annotated[float, Gt(0)] | None = None
    """How much weights cost beside the mean loss of a row; None: validation rows choose."""

    def __post_init__(self) -> None:
        check_options(self)

    def check_together(self) -> None:
        """Refuse a student without any n-gram.

        Raises:
            ValueError: Both sorts are off.
        """
        if not self.words and self.characters < 3:
            raise ValueError(
                f"words: {self.words} and characters: {self.characters} leave no n-gram: give "
                "words of at least 1, or characters of at least 3"
            )

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: Any = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[LinearClassifier, NGrams]:
        """A model whose weights are all 0, and the n-grams of the texts; nothing else is needed.

        Raises:
            DataError: No n-gram stands in enough texts.
        """
        import numpy as np

        from tutelage.students.classifier.linear.model import LinearClassifier
        from tutelage.students.classifier.linear.ngrams import find_ngrams

        del language_model, seed, cache, progress
        ngrams = find_ngrams(
            texts, self._reading, fewest_texts=self.min_texts, most=self.max_ngrams
        )
        weights, bias = np.zeros((len(ngrams), len(self.labels))), np.zeros(len(self.labels))
        return LinearClassifier(ngrams, weights, bias, labels=self.labels), ngrams

    def fit(
        self,
        model: LinearClassifier,
        train_set: EncodedSet,
        validation_set: EncodedSet,
        *,
        objective: Objective,
        record: Callable[[dict[str, Any]], None],
        progress: Progress = SILENT,
    ) -> Fitted:
        """Weights for the n-grams of a model, see `FittedStudent.fit`."""
        import numpy as np

        from tutelage.students.classifier.linear.fitting import SoftRows, features, fit_path
        from tutelage.students.classifier.linear.model import LinearClassifier

        ngrams = model.ngrams
        strengths = STRENGTHS[self.penalty] if self.strength is None else (self.strength,)
        with progress.bar("Fitting weights", total=len(strengths), unit="strengths") as advance:

            def told(fields: dict[str, Any]) -> None:
                record(fields)
                advance(1)

            best, iterations = fit_path(
                *(
                    SoftRows(features(ngrams, rows.input_ids), rows, objective)
                    for rows in (train_set, validation_set)
                ),
                num_classes=len(self.labels),
                penalty=self.penalty,
                strengths=strengths,
                record=told,
            )
        assert ngrams.scale is not None
        weights = best.weights * ngrams.scale[:, None]
        kept = np.any(weights != 0, axis=1)
        rows = kept | (np.arange(len(kept)) == 0)
        fitted = LinearClassifier(
            ngrams.select(kept),
            weights[rows],
            best.bias,
            labels=self.labels,
            facts={"penalty": self.penalty, "strength": best.strength},
        )
        return Fitted(fitted, best.iterations, best.validation_loss, iterations)

    def reads_layer(self, layers: int) -> None:
        """None: it takes nothing of the teacher but its soft targets."""
        del layers

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """Weights that are added at every word, and the most there can be."""
        del facts
        classes = len(self.labels)
        sorts = bool(self.words) + bool(self.characters >= 3)
        return self._grams_of_a_word * classes, sorts * self.max_ngrams * classes

    def effort(self, *, rows: int, tokens: float) -> tuple[float, float]:
        """Seconds of a fit, and bytes of the folder, see `FittedStudent.effort`."""
        strengths = len(STRENGTHS[self.penalty]) if self.strength is None else 1
        values = self._grams_of_a_word * tokens
        seconds = strengths * SECONDS_A_VALUE * values * len(self.labels) + 1e-5 * rows
        numbers = self.weights()[1]
        return seconds, 4 * numbers + 12 * numbers / len(self.labels)

    @property
    def _reading(self) -> dict[str, Any]:
        """How texts are read, as `NGrams` takes it."""
        return {
            "longest_words": self.words,
            "longest_characters": self.characters,
            "max_length": self.max_length,
            "lowercase": self.lowercase,
        }

    @property
    def _grams_of_a_word(self) -> float:
        """N-grams for each word of a text, roughly: words of five letters."""
        inside = sum(max(0, 8 - length) for length in range(3, self.characters + 1))
        return self.words + inside

    def problems(
        self,
        facts: ModelFacts | None,
        tokenizer: Callable[[], Any],
        *,
        texts: Sequence[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """Texts in which no n-gram stands often enough."""
        del facts, tokenizer
        if texts and not self._has_ngrams(texts):
            yield (
                "min_texts",
                f"is {self.min_texts}, but no n-gram stands in so many of the {len(texts):,} "
                "texts: lower it, or give more texts",
            )

    def _has_ngrams(self, texts: Sequence[str]) -> bool:
        """Whether `build` finds any; it looks no further than the first."""
        from tutelage.students.classifier.linear.ngrams import NGrams

        counts: Counter[str] = Counter()
        reading = NGrams([], [], **self._reading)
        for text in texts:
            words = reading.split(text)
            found = {*reading.grams_of_words(words), *reading.grams_of_characters(words)}
            counts.update(found)
            if any(counts[gram] >= self.min_texts for gram in found):
                return True
        return False

    def starts_from(self) -> None:
        """None: it has no weights of its own yet."""
        return
