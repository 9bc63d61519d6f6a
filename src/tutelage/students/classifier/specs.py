"""Students by name: frozen descriptions that build a fresh model and its tokenizer for given texts.

In: sizes and class names, then texts. Out: a model and a tokenizer. Recipes and the Python
interface both build students here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.students.classifier.configuration import Cell, Pooling
from tutelage.students.classifier.fresh import FreshStudent, build_fresh, needs_language_model
from tutelage.students.classifier.pretrained import load_pretrained
from tutelage.students.classifier.rnn import build_rnn
from tutelage.students.classifier.transformer import build_transformer
from tutelage.students.vocabulary.token_vectors import LanguageModel
from tutelage.types import SILENT, Progress

RECURRENT_STD = 0.5
TRANSFORMER_STD = 0.3
"""Sizes of first embeddings that trained best: a recurrent cell reads them as they are, an encoder
normalises them."""


@dataclass(frozen=True, kw_only=True)
class RNN(FreshStudent):
    """A recurrent student.

    Example:
        >>> student = RNN(cell="gru", hidden_size=16, embedding_size=8, labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    cell: Cell = "gru"
    """`gru` or `lstm`."""
    hidden_size: int = 128
    """Width of the state of one direction."""
    embedding_size: int = 128
    """Width of a token embedding; at most the teacher's where embeddings come from it."""
    layers: int = 1
    """Recurrent layers."""
    bidirectional: bool = True
    """Also read the text from its end."""
    pooling: Pooling = "mean_max"
    """How states become one vector: `mean`, `max`, `mean_max`, `attention`, `last`."""
    dropout: float = 0.3
    """Share of values dropped while training."""

    @property
    def needs_language_model(self) -> bool:
        """True if `build` must be given the teacher's language model."""
        return needs_language_model(self)

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: LanguageModel | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model and its tokenizer; arguments, result and errors are those of
        `build_fresh`.
        """
        network = partial(
            build_rnn,
            cell=self.cell,
            hidden_size=self.hidden_size,
            embedding_size=self.embedding_size,
            layers=self.layers,
            bidirectional=self.bidirectional,
            pooling=self.pooling,
            dropout=self.dropout,
        )
        return build_fresh(
            self,
            network,
            texts,
            boundaries=False,
            width=self.embedding_size,
            standard_deviation=RECURRENT_STD,
            language_model=language_model,
            seed=seed,
            cache=cache,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class Transformer(FreshStudent):
    """A small transformer student of a stock class.

    Example:
        >>> student = Transformer(layers=1, hidden_size=32, labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    layers: int = 4
    """Encoder layers."""
    hidden_size: int = 192
    """Width of a token; at most the teacher's where embeddings come from it."""
    heads: int | None = None
    """Attention heads; None means one for every 32 of the width."""
    intermediate_size: int | None = None
    """Width of the feed-forward part; None means what suits the class."""
    dropout: float = 0.1
    """Share of values dropped while training."""

    @property
    def needs_language_model(self) -> bool:
        """True if `build` must be given the teacher's language model."""
        return needs_language_model(self)

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: LanguageModel | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model and its tokenizer; arguments, result and errors are those of
        `build_fresh`.
        """
        network = partial(
            build_transformer,
            layers=self.layers,
            hidden_size=self.hidden_size,
            heads=self.heads,
            intermediate_size=self.intermediate_size,
            dropout=self.dropout,
            max_length=self.max_length,
        )
        return build_fresh(
            self,
            network,
            texts,
            boundaries=True,
            width=self.hidden_size,
            standard_deviation=TRANSFORMER_STD,
            language_model=language_model,
            seed=seed,
            cache=cache,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A student that has weights already."""

    labels: Sequence[str]
    """Class names in the order of the logits."""
    model: Path | str
    """Folder, or hub id, of an encoder or a sequence classifier, with its tokenizer."""
    max_length: int = 128
    """Where texts are truncated, in tokens."""

    @property
    def needs_language_model(self) -> bool:
        """False: the folder has all that is needed."""
        return False

    def build(
        self,
        texts: Iterable[str] = (),
        *,
        language_model: LanguageModel | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """The model of the folder, with a fresh classifier if it has none, and its tokenizer.

        Args:
            texts: Not needed.
            language_model: Not needed.
            seed: Of a fresh classifier.
            cache: Not needed.
            progress: Not needed.

        Returns:
            The model, in training mode, and its tokenizer.

        Raises:
            ModelError: The folder cannot be used, see `load_pretrained`.
        """
        import torch

        del texts, language_model, cache, progress
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, tokenizer = load_pretrained(
                self.model, labels=self.labels, max_length=self.max_length
            )
        return model.train(), tokenizer
