"""What an exporter is given: a student's folder, and what is known of where it comes from.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """N texts with what is known about them."""

    texts: Sequence[str]
    labels: NDArray[np.int64] | None = None
    """[N], negative where nobody knows; None: of no row."""
    teacher_probs: NDArray[np.floating] | None = None
    """[N, C]; None: the teacher was not asked."""
    name: str = "rows"
    """What they are called where they are spoken of."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a student beside its folder, the same for all students of a run."""

    descriptions: Mapping[str, str] = field(default_factory=dict)
    """What labels mean."""
    instructions: str | None = None
    """What the teacher was asked to do."""
    tested: Rows | None = None
    """Rows that no training saw, on which an export must answer as its student; None: some that
    are built in."""
    validation: Rows | None = None
    """Rows that a temperature is fitted to; None: none is."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For people: teacher, terms."""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """What was measured of each student, by its name."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """What a model card tells of the run besides, see `card.card`."""


@dataclass(frozen=True, slots=True)
class Package:
    """How a wheel is called."""

    name: str | None = None
    """Of the package as pip knows it; None: of run and student."""
    version: str | None = None
    """None: `1.0+s` and that of the student's content."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A student to export."""

    folder: Path
    """Where it lies."""
    name: str
    """In its run; else that of its folder."""
    origin: Origin = field(default_factory=Origin)
    package: Package = field(default_factory=Package)
    """What its wheel is to be called."""
