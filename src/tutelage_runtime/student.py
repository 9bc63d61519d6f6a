"""What answers texts, as the server, the certificate and the command line know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage_runtime.bundle import Question


class TextError(ValueError):
    """Something that was given as a text is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a student says about N texts."""

    probs: NDArray[np.float32]
    """[N, C], rows sum to 1, at the student's temperature."""
    features: NDArray[np.float32]
    """[N, D], where texts lie in the student's own representation."""


class Answering(Protocol):
    """An exported student at work."""

    @property
    def question(self) -> Question:
        """What it answers."""
        ...

    @property
    def version(self) -> str:
        """Of its content, see `Bundle.version`."""
        ...

    def answer(self, texts: Sequence[str]) -> Answers:
        """Answers for texts; thread-safe.

        Args:
            texts: N texts, any Unicode; of longer ones the beginning is read.
        """
        ...
