"""What every model of a run made of every test row, in a form in which runs can be laid side by
side.

A measure is a ratio of totals over rows: right answers over labelled rows, nats over tokens. Two
models can be told apart on the rows that both have seen if they are divided by the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Role = Literal["student", "teacher"]


@dataclass(frozen=True)
class RowScores:
    """The test rows of one run with everybody's scores."""

    keys: Sequence[Hashable]
    """What makes a row the same row in another run, [N]; equal ones are counted."""
    places: Sequence[tuple[str, int]]
    """Source and row of each, [N]: pieces of one are resampled together."""
    totals: Mapping[str, Values]
    """By measure what it is divided by, [N]."""
    teacher: Mapping[str, Values]
    """By measure what is divided, [N]."""
    students: Mapping[str, Mapping[str, Values]]
    """The same by student."""

    def everybody(
        self,
    ) -> Iterator[tuple[Role, str, Mapping[str, Values]]]:
        """Role, name and scores: the teacher first."""
        yield "teacher", "teacher", self.teacher
        for name, values in self.students.items():
            yield "student", name, values


def shared_rows(runs: Sequence[RowScores]) -> list[list[int]]:
    """The rows that all runs have, in the order of the first.

    Args:
        runs: Each with its keys; the second of two equal rows is the second elsewhere, too.

    Returns:
        For every run the positions of the same rows.
    """
    places = [_numbered(run.keys) for run in runs]
    shared = [key for key in places[0] if all(key in other for other in places[1:])]
    return [[place[key] for key in shared] for place in places]


def _numbered(keys: Sequence[Hashable]) -> dict[tuple[Hashable, int], int]:
    seen: Counter[Hashable] = Counter()
    found = {}
    for position, key in enumerate(keys):
        found[key, seen[key]] = position
        seen[key] += 1
    return found
