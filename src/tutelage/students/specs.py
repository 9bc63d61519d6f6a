"""Students by name: frozen descriptions that build a fresh model and its tokenizer for given texts.

In: sizes and class names, then texts. Out: a model and a tokenizer. Recipes and the Python interface both build
students here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import ModelError
from tutelage.students.configuration import Cell, Pooling
from tutelage.students.embeddings import LanguageModel, set_embeddings, teacher_embeddings
from tutelage.students.pretrained import load_pretrained
from tutelage.students.rnn import build_rnn
from tutelage.students.tokenizer import train_tokenizer
from tutelage.students.transformer import build_transformer
from tutelage.students.trimming import trim_tokenizer
from tutelage.types import SILENT, Progress

RECURRENT_STD = 0.5
TRANSFORMER_STD = 0.3
MOST_CONTEXTS = 3000
"""Texts in which `teacher_contextual` looks at tokens; more would cost teacher time and change little."""
"""Sizes of first embeddings that trained best: a recurrent cell reads them as they are, an encoder normalises them."""

TokenizerKind = Literal["wordpiece", "bpe", "word", "teacher"]
Embeddings = Literal["random", "teacher", "teacher_contextual"]


@dataclass(frozen=True, kw_only=True)
class RNN:
    """A recurrent student.

    Example:
        >>> student = RNN(cell="gru", hidden_size=16, embedding_size=8, labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    labels: Sequence[str]
    """Class names in the order of the logits."""
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
    max_length: int = 128
    """Where texts are truncated, in tokens."""
    tokenizer: TokenizerKind = "wordpiece"
    """Own vocabulary (`wordpiece`, `bpe`, `word`) or the `teacher`'s, trimmed to the texts."""
    vocabulary_size: int = 8000
    """Most tokens of an own vocabulary."""
    lowercase: bool = True
    """Fold case in an own vocabulary."""
    embeddings: Embeddings = "random"
    """First embeddings: `random`, the `teacher`'s, or what a layer of it makes of each token (`teacher_contextual`)."""
    embeddings_layer: int | None = None
    """The layer for `teacher_contextual`; None means the one just past the middle."""

    @property
    def needs_language_model(self) -> bool:
        """True if `build` must be given the teacher's language model."""
        return _needs_language_model(self)

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: LanguageModel | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model and its tokenizer.

        Args:
            texts: What the vocabulary is made from.
            language_model: The teacher's, where embeddings or tokenizer come from it.
            seed: Of the random weights.
            cache: Folder where the teacher's vectors are kept between builds; None keeps nothing.
            progress: Where bars go.

        Returns:
            The model, in training mode, and its tokenizer.

        Raises:
            ModelError: A language model is needed and none was given.
        """
        texts = list(texts)
        tokenizer = _tokenizer(self, texts, language_model, boundaries=False)
        model = build_rnn(
            tokenizer=tokenizer,
            labels=self.labels,
            cell=self.cell,
            hidden_size=self.hidden_size,
            embedding_size=self.embedding_size,
            layers=self.layers,
            bidirectional=self.bidirectional,
            pooling=self.pooling,
            dropout=self.dropout,
            seed=seed,
        )
        _start_from_teacher(
            self,
            model,
            tokenizer,
            language_model,
            texts=texts,
            width=self.embedding_size,
            standard_deviation=RECURRENT_STD,
            seed=seed,
            cache=cache,
            progress=progress,
        )
        return model, tokenizer


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A small transformer student of a stock class.

    Example:
        >>> student = Transformer(layers=1, hidden_size=32, labels=["bad", "good"])
        >>> model, tokenizer = student.build(["a good film", "a bad film"])
    """

    labels: Sequence[str]
    """Class names in the order of the logits."""
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
    max_length: int = 128
    """Where texts are truncated, in tokens."""
    tokenizer: TokenizerKind = "wordpiece"
    """Own vocabulary (`wordpiece`, `bpe`, `word`) or the `teacher`'s, trimmed to the texts."""
    vocabulary_size: int = 8000
    """Most tokens of an own vocabulary."""
    lowercase: bool = True
    """Fold case in an own vocabulary."""
    embeddings: Embeddings = "random"
    """First embeddings: `random`, the `teacher`'s, or what a layer of it makes of each token (`teacher_contextual`)."""
    embeddings_layer: int | None = None
    """The layer for `teacher_contextual`; None means the one just past the middle."""

    @property
    def needs_language_model(self) -> bool:
        """True if `build` must be given the teacher's language model."""
        return _needs_language_model(self)

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: LanguageModel | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model and its tokenizer.

        Args:
            texts: What the vocabulary is made from.
            language_model: The teacher's, where embeddings or tokenizer come from it.
            seed: Of the random weights.
            cache: Folder where the teacher's vectors are kept between builds; None keeps nothing.
            progress: Where bars go.

        Returns:
            The model, in training mode, and its tokenizer.

        Raises:
            ModelError: A language model is needed and none was given.
        """
        texts = list(texts)
        tokenizer = _tokenizer(self, texts, language_model, boundaries=True)
        model = build_transformer(
            tokenizer=tokenizer,
            labels=self.labels,
            layers=self.layers,
            hidden_size=self.hidden_size,
            heads=self.heads,
            intermediate_size=self.intermediate_size,
            dropout=self.dropout,
            max_length=self.max_length,
            seed=seed,
        )
        _start_from_teacher(
            self,
            model,
            tokenizer,
            language_model,
            texts=texts,
            width=self.hidden_size,
            standard_deviation=TRANSFORMER_STD,
            seed=seed,
            cache=cache,
            progress=progress,
        )
        return model, tokenizer


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A student that has weights already."""

    labels: Sequence[str]
    """Class names in the order of the logits."""
    model: Path | str
    """Folder of an encoder or a sequence classifier, with its tokenizer."""
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
            model, tokenizer = load_pretrained(self.model, labels=self.labels, max_length=self.max_length)
        return model.train(), tokenizer


def _needs_language_model(spec: RNN | Transformer) -> bool:
    return spec.embeddings != "random" or spec.tokenizer == "teacher"


def _tokenizer(
    spec: RNN | Transformer, texts: Iterable[str], language_model: LanguageModel | None, *, boundaries: bool
) -> Any:
    if _needs_language_model(spec) and language_model is None:
        raise ModelError(
            f"tokenizer {spec.tokenizer!r} with embeddings {spec.embeddings!r} comes from the teacher, but no language "
            "model was given: pass language_model, or choose tokenizer='wordpiece' and embeddings='random'"
        )
    if spec.tokenizer == "teacher":
        assert language_model is not None
        return trim_tokenizer(language_model.tokenizer, texts, max_length=spec.max_length, boundaries=boundaries)[0]
    return train_tokenizer(
        texts,
        kind=spec.tokenizer,
        vocabulary_size=spec.vocabulary_size,
        lowercase=spec.lowercase,
        max_length=spec.max_length,
        boundaries=boundaries,
    )


def _start_from_teacher(
    spec: RNN | Transformer,
    model: Any,
    tokenizer: Any,
    language_model: LanguageModel | None,
    *,
    texts: Sequence[str],
    width: int,
    standard_deviation: float,
    seed: int,
    cache: Path | None,
    progress: Progress,
) -> None:
    """Replace random embeddings by the teacher's where the description asks for them."""
    match spec.embeddings:
        case "random":
            return
        case "teacher":
            layer = None
        case "teacher_contextual":
            assert language_model is not None
            layers = language_model.model.config.num_hidden_layers
            layer = (layers + 2) // 2 if spec.embeddings_layer is None else spec.embeddings_layer
        case other:
            raise ValueError(f"embeddings is {other!r}: expected random, teacher or teacher_contextual")
    matrix = teacher_embeddings(
        tokenizer,
        language_model,
        width=width,
        contextual_layer=layer,
        texts=texts[:MOST_CONTEXTS],
        standard_deviation=standard_deviation,
        seed=seed,
        cache=cache,
        progress=progress,
    )
    set_embeddings(model, matrix)
