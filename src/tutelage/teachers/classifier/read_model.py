"""A teacher's language model as students see it: with what it made of words, and with the linear
head that stands on it.

In: the model, what it has read, its head. Out: what students are built from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.models.loading import LanguageModel
from tutelage.teachers.classifier.features import Pooling
from tutelage.teachers.classifier.reading import TextReadings
from tutelage.teachers.classifier.words import Words


@dataclass(frozen=True, slots=True, eq=False)
class Reads:
    """How a linear head reads the states of a language model."""

    layers: tuple[int, ...]
    """The layers that it reads, as in `extract_features`."""
    pooling: tuple[Pooling, ...]
    """How their positions become one vector."""
    weight: np.ndarray
    """Of the head fitted on all rows, [C, D]."""
    bias: np.ndarray
    """[C]."""
    temperature: float
    """Its logits are divided by it."""


class ReadModel:
    """A teacher's language model as students see it: with what it made of words in texts, and with
    the linear head that stands on it.

    Args:
        language_model: The teacher's.
        readings: What it has read; None where nothing is kept.
        reads: How its head reads it; None where it has none.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        readings: TextReadings | None,
        *,
        reads: Reads | None = None,
    ) -> None:
        self.model, self.tokenizer = language_model.model, language_model.tokenizer
        self.name, self.fingerprint = language_model.name, language_model.fingerprint
        self.reads = reads
        self._language_model, self._readings = language_model, readings

    def words(self, texts: Sequence[str], *, layer: int) -> Iterator[Words] | None:
        """See `TextReadings.words`."""
        if self._readings is None:
            return None
        return self._readings.words(self._language_model, texts, layer=layer)
