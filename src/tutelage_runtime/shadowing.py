"""What became of a candidate that answered beside the students in service: its record.

In: comparisons of its answers with those that were given. Out: how often it agrees, with an
interval, and a file that outlives restarts, which `release promote` reads.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from math import sqrt
from pathlib import Path
from statistics import NormalDist

FORMAT = 2
LEVEL = 0.95
_NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)
_MOST = 1 << 53
"""Below which whole numbers are floats too."""


class RecordError(ValueError):
    """A file is no record of a candidate."""


@dataclass(slots=True)
class Compared:
    """A candidate's answers beside those of one kind of answerer."""

    answers: int = 0
    agreed: int = 0
    distances: float = 0.0
    """Summed over `with_distance`: half the sum of differences of probabilities, from 0 to 1."""
    with_distance: int = 0
    """Answers whose probabilities are known; an upstream's are not read."""

    @property
    def distance(self) -> float | None:
        """The mean distance; None where none is known."""
        return self.distances / self.with_distance if self.with_distance else None

    @property
    def interval(self) -> tuple[float, float]:
        """In which the share of agreement lies at 95 %, if answers are independent of each other.

        Source: Wilson 1927, the score interval.
        """
        if not self.answers:
            return 0.0, 1.0
        share, spread = self.agreed / self.answers, _NORMAL**2 / self.answers
        middle = (share + spread / 2) / (1 + spread)
        half = _NORMAL * sqrt(share * (1 - share) / self.answers + spread / (4 * self.answers))
        return max(0.0, middle - half / (1 + spread)), min(1.0, middle + half / (1 + spread))


@dataclass(slots=True)
class Shadowing:
    """All that was seen of one version of a candidate."""

    student: str
    """Its version, see `Bundle.version`."""
    since: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    students: dict[str, Compared] = field(default_factory=dict)
    """By version of the student whose answer a client got."""
    upstream: Compared = field(default_factory=Compared)
    """Where a client got the upstream's."""
    dropped: int = 0
    """Requests that it did not answer because it was busy, or too many texts waited for it."""
    failed: int = 0
    """Requests at which it failed."""
    unmatched: int = 0
    """Requests whose questions it does not answer, or whose answer cannot be read."""

    @property
    def answers(self) -> int:
        """That were compared, whoever gave the other one."""
        return total((*self.students.values(), self.upstream)).answers

    def beside(self, versions: Iterable[str]) -> Shadowing:
        """The same, with no other students than these compared: those in service now."""
        kept = {one: self.students[one] for one in versions if one in self.students}
        return replace(self, students=kept)

    def __str__(self) -> str:
        """Said in one line."""
        parts = []
        named = [(f"student {version}", one) for version, one in self.students.items()]
        for by, one in (*named, ("upstream", self.upstream)):
            if one.answers:
                low, high = one.interval
                far = "" if one.distance is None else f", mean distance {one.distance:.3f}"
                parts.append(
                    f"agrees with the {by} on {one.agreed:,} of {one.answers:,} answers "
                    f"({low:.1%} to {high:.1%}{far})"
                )
        told = "; ".join(parts) or "nothing was compared yet"
        for word in ("dropped", "failed"):
            if number := getattr(self, word):
                told += f"; {number:,} requests {word}"
        return told


def total(parts: Iterable[Compared]) -> Compared:
    """Several tallies as one."""
    found = Compared()
    for one in parts:
        found.answers += one.answers
        found.agreed += one.agreed
        found.distances += one.distances
        found.with_distance += one.with_distance
    return found


def record_path(folder: Path, version: str) -> Path:
    """Where the record of a candidate's version lies."""
    return folder / f"candidate-{version}.json"


def read_record(folder: Path, version: str) -> Shadowing | None:
    """The record of a candidate's version; None: there is none.

    Raises:
        RecordError: The file is no record of it.
    """
    path = record_path(folder, version)
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        if values.pop("format") != FORMAT or values["student"] != version:
            raise ValueError("of another format or student")
        students = {one: Compared(**tally) for one, tally in values.pop("students").items()}
        upstream = Compared(**values.pop("upstream"))
        found = Shadowing(**values, students=students, upstream=upstream)
        counts = [found.dropped, found.failed, found.unmatched]
        for one in (*students.values(), upstream):
            counts += [one.answers, one.agreed, one.with_distance, one.answers - one.agreed]
            if not 0 <= one.distances < _MOST:
                raise ValueError("a distance that no record has")
        if not all(type(one) is int and 0 <= one < _MOST for one in counts):
            raise ValueError("numbers that no record has")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordError(
            f"{path} is no record of a candidate ({type(error).__name__}: {error}): remove it, and "
            "let the candidate answer beside again"
        ) from None
    return found


def write_record(folder: Path, record: Shadowing) -> None:
    """Write a record; the one that was there stays whole until the new one is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = record_path(folder, record.student)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"format": FORMAT, **asdict(record)}) + "\n", "utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
