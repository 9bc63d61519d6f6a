"""What every kind of student that writes can do, whichever it is: the one Protocol that the task
asks, what it is told of the teacher, and how many weights it will have.

A kind is a frozen dataclass whose options are those of a recipe (see `config.specs`); it imports
neither torch nor transformers before it is asked for a model or for what is in files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.errors import ModelError
from tutelage.students.language.lora import Lora

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Teaching:
    """The teacher and the documents of a student, as far as they are known without weights."""

    config: Any
    """The configuration of the teacher's language model."""
    tokenizer: Any
    """The teacher's."""
    texts: Sequence[str]
    """Some training documents, on which tokenizers are compared."""
    used_ids: NDArray[np.int64]
    """The teacher's ids in documents that are learned from."""
    sequence_length: int
    """The most tokens of one document."""

    @property
    def has_tokens_without_rows(self) -> bool:
        """Whether the tokenizer knows tokens that the teacher has no embeddings for."""
        return len(self.tokenizer) > self.config.vocab_size


class LanguageStudent(Protocol):
    """A description of a student: builds it, knows its size, and what is wrong with it."""

    @property
    def lora(self) -> Lora | None:
        """Train low-rank additions only; None: all weights."""
        ...

    @property
    def needs_weights(self) -> bool:
        """Whether `build` must be given the teacher's language model; its tokenizer always is."""
        ...

    @property
    def trims_vocabulary(self) -> bool:
        """Whether the student has only the tokens that the documents use."""
        ...

    @property
    def hidden_weight(self) -> float:
        """The weight of the distance between last hidden states of student and teacher."""
        ...

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
        """The student over the teacher's vocabulary, as it is before its first step.

        Args:
            tokenizer: The teacher's.
            sequence_length: The longest document in tokens.
            language_model: The teacher's, where `needs_weights`.
            calibration: Token ids, each [1, T], on which parts of the teacher are ranked.
            seed: Of the random weights; the global random state is left as it was.
            say: Told what takes time.

        Returns:
            A causal language model in training mode.
        """
        ...

    def config(self, teacher: Any, *, vocabulary: int | None = None) -> Any:
        """The configuration that the student will have, as far as its size goes.

        Args:
            teacher: The configuration of the teacher's language model.
            vocabulary: Number of tokens; None: as many as the teacher has rows.

        Raises:
            ModelError: There can be no such student of this teacher.
            ValueError: Sizes that do not fit.
        """
        ...

    def problems(self, teaching: Teaching, *, name: str) -> Iterator[tuple[str, str]]:
        """What would keep it from being built, told from configurations and tokenizers alone.

        Args:
            teaching: What it is built for.
            name: The student's, for messages.

        Returns:
            Options that must change ("": the student as a whole), each with the reason.
        """
        ...

    def starts_from(self) -> str | None:
        """The fingerprint of the weights of its own that it starts from; None: it has none."""
        ...


def language_parameters(
    student: LanguageStudent, teacher_config: Any, *, vocabulary: int | None = None
) -> int:
    """Number of weights of a student, tied ones once, adapters merged; none are made or read for
    it.

    Args:
        student: Its description.
        teacher_config: The teacher's configuration of transformers.
        vocabulary: Number of tokens of the student; None means as many as the teacher has rows,
            which is the most that it can be.

    Returns:
        The number of weights.

    Raises:
        ModelError: The teacher cannot be pruned, or the student's folder cannot be read.
        ValueError: Sizes that do not fit.
    """
    from tutelage.models.loading import empty_model

    config = student.config(teacher_config, vocabulary=vocabulary)
    return sum(parameter.numel() for parameter in empty_model(config).parameters())


def size_problems(student: LanguageStudent, teaching: Teaching) -> Iterator[tuple[str, str]]:
    """Why there can be no student of such sizes."""
    try:
        language_parameters(student, teaching.config)
    except (ModelError, ValueError) as error:
        yield "", str(error)


def given(language_model: Any) -> Any:
    """The teacher's language model, or the refusal of a build without it."""
    if language_model is None:
        raise ModelError(
            "the student is made from its teacher, but no language model was given: pass "
            "language_model, or choose embeddings='random'"
        )
    return language_model
