"""A classifier at work, whichever kind of student it is: texts in, probabilities out.

In: a student's folder, which names its kind. Out: what answers. Networks come with torch; a kind of
student that needs none to answer brings its own reader, see `students.kinds`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.models.contributions import Contributions
from tutelage.models.folders import require_small


class Classifier(Protocol):
    """A trained student that classifies."""

    @property
    def labels(self) -> list[str]:
        """C class names, in the order of the probabilities."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        ...

    def probs(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Probability of every class for every text, [N, C]; rows sum to 1.

        Args:
            texts: N texts.
            batch_size: The most that go through a network at a time.
        """
        ...


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a part of a text added to an answer."""

    ngram: str
    """Words, or characters inside one, whose ends show as spaces."""
    inside_word: bool
    """Whether it is of characters."""
    logits: NDArray[np.float32]
    """What it adds to the score of each class, [C]."""


@runtime_checkable
class Explained(Protocol):
    """A classifier whose every score is a sum."""

    @property
    def bias(self) -> NDArray[np.float32]:
        """The scores of a text that it knows nothing of, [C]."""
        ...

    def contributions(self, text: str) -> list[Contribution]:
        """What each part of a text adds, those that part the classes most first; all of them and
        `bias` sum to the scores.
        """
        ...

    def by_word(self, text: str) -> Contributions:
        """The same sum by word: a part of several words counts for each of them alike."""
        ...


@runtime_checkable
class Readable(Explained, Protocol):
    """Such a classifier whose parts weigh the same in every text, so that it can be read without
    one.
    """

    def strongest(self, most: int) -> dict[str, list[tuple[str, float]]]:
        """By label the parts that speak most for it, and how far each moves it against the mean of
        all classes.

        Args:
            most: Parts of each class.
        """
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A classifier, student or teacher, that may have gradients."""

    @property
    def integrated(self) -> Callable[[str], Contributions] | None:
        """Integrated gradients of a text, see `models.gradients`; None where there are none."""
        ...


def load_classifier(folder: Path | str) -> Classifier:
    """A trained student from its folder, on the CPU.

    Args:
        folder: Of a run's student, or any sequence classifier in the `save_pretrained` layout.

    Raises:
        ModelError: The folder holds no finished model, or it cannot be loaded.
    """
    place = reader_of(Path(folder)) or "classifier.predict:Predictor"
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"tutelage.students.{module}"), name).load(folder)


def reader_of(folder: Path) -> str | None:
    """The class that reads a folder, where it answers without torch: see `kinds.StudentKind`."""
    from tutelage.students.kinds import CLASSIFIERS

    model_type = _model_type(folder)
    readers = dict(kind.reader for kind in CLASSIFIERS if kind.reader is not None)
    return readers.get(model_type or "")


def _model_type(folder: Path) -> str | None:
    """What `config.json` says; None where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    require_small(path)
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read ({type(error).__name__}): train the student again, or save the "
            "model again"
        ) from error
    return found.get("model_type") if isinstance(found, dict) else None
