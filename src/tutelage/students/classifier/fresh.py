"""What students with fresh weights have in common: their vocabulary, and where their first
embeddings come from.

In: a description, texts, perhaps a teacher's language model. Out: a model and a tokenizer that fit
together, or what keeps them from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from tutelage.config.ranges import check_options
from tutelage.errors import ModelError
from tutelage.students.classifier.student import refused
from tutelage.types import Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.students.vocabulary.token_vectors import ModelWithTokenizer

MOST_CONTEXTS = 3000
"""Texts in which `teacher_contextual` looks at tokens; more would cost teacher time and change
little."""

TokenizerKind = Literal["wordpiece", "bpe", "word", "teacher"]
ClassifierEmbeddings = Literal["random", "teacher", "teacher_contextual"]


@dataclass(frozen=True, kw_only=True)
class FreshStudent:
    """The options of every student with fresh weights; what is done with them is in the functions
    below.
    """

    boundaries: ClassVar[bool]
    """Of a kind: whether texts stand between a first and a last token."""
    width_option: ClassVar[str]
    """Of a kind: the option that is the width of a token embedding."""
    spread: ClassVar[float]
    """Of a kind: the standard deviation of first embeddings from the teacher that trained best."""

    labels: Sequence[str]
    """Class names in the order of the logits."""

    max_length: Annotated[int, Ge(2)] = 128
    """The most tokens of one text; longer texts are cut."""

    tokenizer: TokenizerKind = "wordpiece"
    """Where the vocabulary comes from."""

    vocabulary_size: Annotated[int, Ge(16), Le(10_000_000)] = 8000
    """The most tokens of a trained vocabulary."""

    lowercase: bool = True
    """Whether capital letters are set aside; has no effect on the teacher's tokenizer."""

    embeddings: ClassifierEmbeddings = "random"
    """The first token embeddings: random, the teacher's, or what a layer of the teacher makes of
    each token (teacher_contextual); the last two reduced by PCA."""

    embeddings_layer: Annotated[int, Ge(0)] | None = None
    """The teacher's layer that `teacher_contextual` reads; None: one just above the middle."""

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs_weights(self) -> bool:
        """True if the first embeddings come from the teacher."""
        return self.embeddings != "random"

    @property
    def needs_tokenizer(self) -> bool:
        """True if vocabulary or embeddings come from the teacher."""
        return self.needs_weights or self.tokenizer == "teacher"

    def reads_layer(self, layers: int) -> int | None:
        """The layer whose states first embeddings are, see `ClassifierStudent.reads_layer`."""
        if self.embeddings != "teacher_contextual":
            return None
        return (layers + 2) // 2 if self.embeddings_layer is None else self.embeddings_layer

    def starts_from(self) -> None:
        """None: all weights are fresh."""
        return


def contexts_of(texts: Sequence[str]) -> Sequence[str]:
    """Those of a student's texts in which `teacher_contextual` looks at tokens."""
    return texts[:MOST_CONTEXTS]


def build_fresh(
    student: FreshStudent,
    network: Callable[..., Any],
    texts: Iterable[str],
    *,
    language_model: ModelWithTokenizer | None,
    seed: int,
    cache: Path | None,
    progress: Progress,
) -> tuple[Any, Any]:
    """Make the vocabulary, then the network for it, then put the teacher's embeddings in if they
    are asked for.

    Args:
        student: The description.
        network: Makes the model, in training mode, from the description, a tokenizer and `seed`.
        texts: What the vocabulary is made from.
        language_model: The teacher's, where embeddings or tokenizer come from it; its `model` is
            asked for embeddings alone.
        seed: Of the random weights.
        cache: Folder where the teacher's vectors are kept between builds; None keeps nothing.
        progress: Where bars go.

    Returns:
        The model, in training mode, and its tokenizer.

    Raises:
        ModelError: A language model is needed and none was given.
    """
    texts = list(texts)
    tokenizer = fresh_tokenizer(student, texts, language_model)
    model = network(student, tokenizer, seed=seed)
    start_from_teacher(
        student,
        model,
        tokenizer,
        texts,
        language_model=language_model,
        seed=seed,
        cache=cache,
        progress=progress,
    )
    return model, tokenizer


def start_from_teacher(
    student: FreshStudent,
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    pairs: Mapping[tuple[int, int], int] = MappingProxyType({}),
    language_model: ModelWithTokenizer | None,
    seed: int,
    cache: Path | None,
    progress: Progress,
) -> None:
    """Put the teacher's embeddings into a network if the student asks for them.

    Args:
        student: The description.
        model: The network; changed in place.
        tokenizer: The student's.
        texts: Where tokens are looked at.
        pairs: Of tokens that have rows of their own in the network, see `teacher_embeddings`.
        language_model: As for `build_fresh`.
        seed: As for `build_fresh`.
        cache: As for `build_fresh`.
        progress: As for `build_fresh`.
    """
    from tutelage.students.vocabulary.embeddings import set_embeddings, teacher_embeddings

    if not student.needs_weights:
        return
    assert language_model is not None
    matrix = teacher_embeddings(
        tokenizer,
        language_model,
        width=getattr(student, student.width_option),
        contextual_layer=student.reads_layer(language_model.model.config.num_hidden_layers),
        texts=contexts_of(texts),
        pairs=pairs,
        standard_deviation=student.spread,
        seed=seed,
        cache=cache,
        progress=progress,
    )
    set_embeddings(model, matrix)


def fresh_problems(
    student: FreshStudent, facts: ModelFacts | None, tokenizer: Callable[[], Any]
) -> Iterator[tuple[str, str]]:
    """A vocabulary too small, embeddings that the teacher does not have, a tokenizer of its that
    cannot be trimmed; arguments and result as in `ClassifierStudent.problems`.
    """
    from tutelage.students.vocabulary.training import smallest_vocabulary

    if student.tokenizer != "teacher":
        least = smallest_vocabulary(student.tokenizer, boundaries=student.boundaries)
        if student.vocabulary_size < least:
            yield (
                "vocabulary_size",
                f"is {student.vocabulary_size}, but special tokens and single letters need "
                f"{least}: raise it",
            )
    if facts is None:
        return
    if student.embeddings != "random":
        yield from _teacher_lacks(student, facts)
    if student.tokenizer == "teacher":
        message = refused(lambda: _require_trimmable(tokenizer()))
        if message is not None:
            yield "tokenizer", message


def _teacher_lacks(student: FreshStudent, facts: ModelFacts) -> Iterator[tuple[str, str]]:
    key = student.width_option
    width, widest = getattr(student, key), facts.embedding_width
    if widest is not None and width > widest:
        yield (
            key,
            f"is {width}, but the teacher's embeddings are only {widest} wide: choose at most "
            f"{widest}, or embeddings: random",
        )
    layer = student.embeddings_layer if student.embeddings == "teacher_contextual" else None
    if layer is not None and facts.layers is not None and layer > facts.layers:
        yield (
            "embeddings_layer",
            f"is {layer}, but the teacher has {facts.layers} layers: give 0 to {facts.layers}, or "
            "leave it out",
        )


def _require_trimmable(tokenizer: Any) -> None:
    from tutelage.students.vocabulary.trimming import byte_level_state

    byte_level_state(tokenizer)


def fresh_tokenizer(
    student: FreshStudent, texts: Sequence[str], language_model: ModelWithTokenizer | None
) -> Any:
    """The vocabulary of a student, made from texts or cut from its teacher's.

    Raises:
        ModelError: A language model is needed and none was given.
    """
    from tutelage.students.vocabulary.training import train_tokenizer
    from tutelage.students.vocabulary.trimming import trim_tokenizer

    lacks_weights = student.needs_weights and getattr(language_model, "model", None) is None
    if lacks_weights or (student.needs_tokenizer and language_model is None):
        raise ModelError(
            f"tokenizer {student.tokenizer!r} with embeddings {student.embeddings!r} comes from "
            "the teacher, but no language model was given: pass language_model, or choose "
            "tokenizer='wordpiece' and embeddings='random'"
        )
    if student.tokenizer == "teacher":
        assert language_model is not None
        return trim_tokenizer(
            language_model.tokenizer,
            texts,
            max_length=student.max_length,
            boundaries=student.boundaries,
        )[0]
    return train_tokenizer(
        texts,
        kind=student.tokenizer,
        vocabulary_size=student.vocabulary_size,
        lowercase=student.lowercase,
        max_length=student.max_length,
        boundaries=student.boundaries,
    )
