"""What every kind of student that classifies can do, whichever it is: the one Protocol that the
task asks.

A kind is a frozen dataclass whose options are those of a recipe (see `config.specs`); it imports
neither torch nor transformers before it is asked for a model or for what is in files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tutelage.errors import AssetError, ModelError, NotEnoughMemory
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.data.examples.collate import EncodedSet
    from tutelage.losses import Objective
    from tutelage.models import ModelFacts
    from tutelage.students.classifier.matching import HiddenMatching


class ClassifierStudent(Protocol):
    """A description of a student: builds it, knows its size, and what is wrong with it."""

    @property
    def labels(self) -> Sequence[str]:
        """Class names in the order of the logits."""
        ...

    @property
    def needs_weights(self) -> bool:
        """Whether `build` must be given the teacher's language model with its weights."""
        ...

    @property
    def needs_tokenizer(self) -> bool:
        """Whether `build` must be given the teacher's language model, if only for its tokenizer."""
        ...

    def build(
        self,
        texts: Iterable[str],
        *,
        language_model: Any = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """A fresh model, in training mode, and its tokenizer.

        Args:
            texts: What a vocabulary is made from.
            language_model: The teacher's (`model`, `tokenizer`); without weights its model is None.
            seed: Of the random weights; the global random state is left as it was.
            cache: Folder where the teacher's vectors are kept between builds; None keeps nothing.
            progress: Where bars go.

        Raises:
            ModelError: A language model is needed and none was given, or a folder cannot be used.
        """
        ...

    def reads_layer(self, layers: int) -> int | None:
        """The layer of the teacher whose states of running text `build` starts from.

        Args:
            layers: How many the teacher has.

        Returns:
            None where it reads no text with the teacher.
        """
        ...

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """How many weights are multiplied at every token, and how many there are, roughly.

        Args:
            facts: Of the teacher's language model; None where it cannot be read.
        """
        ...

    def problems(
        self,
        facts: ModelFacts | None,
        tokenizer: Callable[[], Any],
        *,
        texts: Sequence[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """What would keep it from being built, told from configurations and tokenizers alone.

        Args:
            facts: Of the teacher's language model; None where it cannot be read.
            tokenizer: Reads the teacher's tokenizer.
            texts: What it will be given, as far as that is known.

        Returns:
            Options that must change, each with the reason.
        """
        ...

    def starts_from(self) -> str | None:
        """The fingerprint of the weights of its own that it starts from; None: it has none."""
        ...


@runtime_checkable
class TrainedInPart(Protocol):
    """A student not all of whose weights are trained alike; others need not say so.

    Weights that stay as they are, `build` has marked (`requires_grad`).
    """

    def learning_rates(self, model: Any) -> Mapping[str, float]:
        """The highest learning rates of weights that have one of their own, by name.

        Args:
            model: From `build`.
        """
        ...

    def finished(self, model: Any) -> Any:
        """The model as it is saved: without adapters, and with no weight marked any more.

        Args:
            model: From `build`, trained; not usable afterwards.
        """
        ...


@runtime_checkable
class MatchesStates(Protocol):
    """A student whose hidden states may be drawn to those of its teacher; others need not say
    so.
    """

    def matching(self, model: Any, tokenizer: Any, *, language_model: Any) -> HiddenMatching | None:
        """What says how far its states are from the teacher's; None where they are left alone.

        Args:
            model: From `build`.
            tokenizer: From `build`.
            language_model: The teacher's, as `build` was given it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a student that fits itself came to."""

    model: Any
    """With its best weights; `model.save(folder)` writes it."""
    best_step: int
    """Iterations after which validation was best."""
    best_validation_loss: float
    """Mean cost of a held-out row, in nats."""
    steps: int
    """Iterations in all."""


@runtime_checkable
class FittedStudent(ClassifierStudent, Protocol):
    """A student that is no network of torch: not trained step by step, but fitted by itself.

    `build` gives a model that is not fitted yet, and what reads texts for it, called as tokenizers
    are.
    """

    def fit(
        self,
        model: Any,
        train_set: EncodedSet,
        validation_set: EncodedSet,
        *,
        objective: Objective,
        record: Callable[[dict[str, Any]], None],
        progress: Progress = SILENT,
    ) -> Fitted:
        """Fit a model that was built.

        Args:
            model: From `build`.
            train_set: Rows to learn from, all of them; without soft targets from labels alone.
            validation_set: Rows that choose.
            objective: Cost of each row.
            record: Takes lines of `metrics.jsonl`, in order of their `step`.
            progress: Where bars go.
        """
        ...

    def effort(self, *, rows: int, tokens: float) -> tuple[float, float]:
        """What a fit takes: seconds, and bytes of the saved model, both roughly.

        Args:
            rows: That it learns from.
            tokens: In all of them.
        """
        ...


def refused(attempt: Callable[[], Any]) -> str | None:
    """What an attempt was refused with; None if it was not."""
    try:
        attempt()
    except (AssetError, ModelError, NotEnoughMemory, ValueError) as error:
        return str(error)
    return None
