"""What students with fresh weights have in common: their vocabulary, and where their first
embeddings come from.

In: a description, texts, perhaps a teacher's language model. Out: a model and a tokenizer that fit
together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import ModelError
from tutelage.students.vocabulary.embeddings import set_embeddings, teacher_embeddings
from tutelage.students.vocabulary.token_vectors import LanguageModel
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage.students.vocabulary.trimming import trim_tokenizer
from tutelage.types import Progress

MOST_CONTEXTS = 3000
"""Texts in which `teacher_contextual` looks at tokens; more would cost teacher time and change
little."""

TokenizerKind = Literal["wordpiece", "bpe", "word", "teacher"]
Embeddings = Literal["random", "teacher", "teacher_contextual"]


@dataclass(frozen=True, kw_only=True)
class FreshStudent:
    """The fields of every student with fresh weights; what is done with them is in the functions
    below.
    """

    labels: Sequence[str]
    """Class names in the order of the logits."""
    max_length: int = 128
    """Where texts are truncated, in tokens."""
    tokenizer: TokenizerKind = "wordpiece"
    """Own vocabulary (`wordpiece`, `bpe`, `word`) or the `teacher`'s, trimmed to the texts."""
    vocabulary_size: int = 8000
    """Most tokens of an own vocabulary."""
    lowercase: bool = True
    """Fold case in an own vocabulary."""
    embeddings: Embeddings = "random"
    """First embeddings: `random`, the `teacher`'s, or what a layer of it makes of each token
    (`teacher_contextual`)."""
    embeddings_layer: int | None = None
    """The layer for `teacher_contextual`; None means the one just past the middle."""


def needs_language_model(student: FreshStudent) -> bool:
    """True if vocabulary or embeddings come from the teacher."""
    return student.embeddings != "random" or student.tokenizer == "teacher"


def contexts_of(texts: Sequence[str]) -> Sequence[str]:
    """Those of a student's texts in which `teacher_contextual` looks at tokens."""
    return texts[:MOST_CONTEXTS]


def contextual_layer(student: FreshStudent, layers: int) -> int | None:
    """The layer, of so many of the teacher's, whose states first embeddings are; None if they are
    something else.
    """
    if student.embeddings != "teacher_contextual":
        return None
    return (layers + 2) // 2 if student.embeddings_layer is None else student.embeddings_layer


def build_fresh(
    student: FreshStudent,
    network: Callable[..., Any],
    texts: Iterable[str],
    *,
    boundaries: bool,
    width: int,
    standard_deviation: float,
    language_model: LanguageModel | None,
    seed: int,
    cache: Path | None,
    progress: Progress,
) -> tuple[Any, Any]:
    """Make the vocabulary, then the network for it, then put the teacher's embeddings in if they
    are asked for.

    Args:
        student: The description.
        network: Makes the model from `tokenizer`, `labels` and `seed`, given by name.
        texts: What the vocabulary is made from.
        boundaries: Whether texts stand between a first and a last token.
        width: Of a token embedding.
        standard_deviation: Of embeddings from the teacher.
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
    tokenizer = _tokenizer(student, texts, language_model, boundaries=boundaries)
    model = network(tokenizer=tokenizer, labels=student.labels, seed=seed)
    if student.embeddings != "random":
        assert language_model is not None
        matrix = teacher_embeddings(
            tokenizer,
            language_model,
            width=width,
            contextual_layer=contextual_layer(
                student, language_model.model.config.num_hidden_layers
            ),
            texts=contexts_of(texts),
            standard_deviation=standard_deviation,
            seed=seed,
            cache=cache,
            progress=progress,
        )
        set_embeddings(model, matrix)
    return model, tokenizer


def _tokenizer(
    student: FreshStudent,
    texts: Sequence[str],
    language_model: LanguageModel | None,
    *,
    boundaries: bool,
) -> Any:
    if needs_language_model(student) and language_model is None:
        raise ModelError(
            f"tokenizer {student.tokenizer!r} with embeddings {student.embeddings!r} comes from "
            "the teacher, but no "
            "language model was given: pass language_model, or choose tokenizer='wordpiece' and "
            "embeddings='random'"
        )
    if student.tokenizer == "teacher":
        assert language_model is not None
        return trim_tokenizer(
            language_model.tokenizer, texts, max_length=student.max_length, boundaries=boundaries
        )[0]
    return train_tokenizer(
        texts,
        kind=student.tokenizer,
        vocabulary_size=student.vocabulary_size,
        lowercase=student.lowercase,
        max_length=student.max_length,
        boundaries=boundaries,
    )
