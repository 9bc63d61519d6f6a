"""What is asked of a teacher: who it is, and, each by itself, what it can give.

A kind of teacher has what it can give and nothing else; whoever needs something names the Protocol
that has it. So a teacher behind an API, recorded answers or a mixture of teachers stand where a
model in memory does, for as much as they know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tutelage.types import Document, Example, Progress

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tutelage.models import LanguageModel, OutputLayer
    from tutelage.targets import SparseTargets
    from tutelage.teachers.classifier.read_model import ReadModel


class Teacher(Protocol):
    """Anyone who writes soft targets: in any order, with no state between calls."""

    @property
    def fingerprint(self) -> str:
        """Names everything that the soft targets depend on: weights or served model, prompt, number
        format.
        """
        ...


class ClassProbabilities(Teacher, Protocol):
    """Says how likely each class is."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the soft targets."""
        ...

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        """Soft targets, float32 [B, C], each row summing to 1."""
        ...


class TokenDistributions(Teacher, Protocol):
    """Says how likely every token is next.

    A distribution comes in two steps, so that nothing of size tokens x vocabulary is ever held: the
    states of whole documents, and logits of a chunk of them.
    """

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, of transformers."""
        ...

    @property
    def tokenizer_fingerprint(self) -> str:
        """Names the tokenizer by what it does to text."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many ids a distribution is over."""
        ...

    @property
    def padding_id(self) -> int:
        """Fills short rows, which nobody looks at."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens that it reads at once, padding included."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens of the longest document that it reads; None: there is no end."""
        ...

    def batches(self, documents: Sequence[Document]) -> Iterator[list[int]]:
        """Places of documents in batches for `read`, longest first.

        Raises:
            DataError: A document is longer than the teacher reads.
        """
        ...

    def read(self, documents: Sequence[Document]) -> list[torch.Tensor]:
        """For each document of a batch float32 [P, H], of which `logits` makes distributions, P its
        trained tokens.
        """
        ...

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary, float32 [..., V]."""
        ...


class HiddenStates(TokenDistributions, Protocol):
    """Has final hidden states and the output layer that makes logits of them."""

    @property
    def head(self) -> OutputLayer:
        """What multiplies its states; may have more rows than the vocabulary."""
        ...

    def hidden_states(self, documents: Sequence[Document]) -> list[torch.Tensor]:
        """As `read`, of documents in any order and number."""
        ...


@runtime_checkable
class AnswersAsTheyCome(ClassProbabilities, Protocol):
    """Answers many questions at once, each when it is ready, and some perhaps never."""

    def answers(
        self, examples: Sequence[Example], *, progress: Progress
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Places of examples with their soft targets, float32 [N, C], in the order in which they
        come. Who is not answered does not come; `unanswered` says why.
        """
        ...

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, in a word each, why examples of the last call have no soft targets."""
        ...


class TokenAnswers(Teacher, Protocol):
    """Tells the likeliest tokens of many documents at once, of each when it is ready, and of some
    perhaps never.
    """

    @property
    def tokenizer_fingerprint(self) -> str:
        """Names the tokenizer by what it does to text."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many ids a distribution is over."""
        ...

    def answers(
        self, documents: Sequence[Document], *, progress: Progress
    ) -> Iterator[tuple[list[int], list[SparseTargets]]]:
        """Places of documents with their targets, in the order in which they come."""
        ...

    @property
    def unanswered(self) -> Mapping[bytes, str]:
        """By content id, in a word each, why documents of the last call have no targets."""
        ...


@runtime_checkable
class Accounts(Protocol):
    """Remembers how its answers came about."""

    @property
    def account(self) -> Mapping[str, Any]:
        """Of the last call, for report and provenance: what was asked of whom, what it took, what
        was no answer. Plain values.
        """
        ...


@runtime_checkable
class LabelMass(Protocol):
    """Knows how much of its probability falls on the labels at all."""

    def label_mass(self, examples: Sequence[Example]) -> np.ndarray:
        """Share of probability on any label, float32 [B]."""
        ...


@runtime_checkable
class Cost(Protocol):
    """Answers with weights that are in memory here."""

    @property
    def parameters(self) -> int:
        """Number of weights that run for an answer."""
        ...

    @property
    def disk_bytes(self) -> int:
        """Their size in the number format that they are used in."""
        ...

    @property
    def device(self) -> torch.device:
        """Where they are."""
        ...


@runtime_checkable
class OwnWeights(Protocol):
    """Has its language model in memory, which students can be cut from or start from."""

    @property
    def language_model(self) -> LanguageModel:
        """The model and its tokenizer."""
        ...


@runtime_checkable
class WordMemory(Protocol):
    """Remembers what it made of words, which first embeddings of students are made of."""

    def with_words(self) -> LanguageModel | ReadModel:
        """Its language model, with what it remembers if it does."""
        ...


@runtime_checkable
class Deployable(Protocol):
    """Could answer instead of a student, so that its answers are timed beside a student's."""

    def for_new_texts(self) -> ClassProbabilities:
        """The teacher as it would answer texts that it has never seen."""
        ...


@runtime_checkable
class HasMembers(Protocol):
    """Answers for several teachers, each of which said something of its own."""

    @property
    def combine(self) -> str:
        """How their distributions become one."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """What each member weighs, by name, summing to 1."""
        ...

    @property
    def descriptions(self) -> Mapping[str, str]:
        """Each member in a few words, by name."""
        ...

    def members_probs(self, ids: Sequence[bytes]) -> Mapping[str, np.ndarray]:
        """What each member said about texts that were asked about, by name, float32 [B, C]."""
        ...


def device_of(teacher: Teacher) -> torch.device:
    """Where a teacher answers, and so where others are compared with it: a processor, where none of
    its weights are here.
    """
    import torch

    return teacher.device if isinstance(teacher, Cost) else torch.device("cpu")
