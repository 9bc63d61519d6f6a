"""The data of a classification run: rows and labels of each part. Facts in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHOWN_COUNTS = 12


@dataclass(frozen=True)
class DataFile:
    """One part of the data."""

    part: str
    """train, validation, test or unlabeled."""
    file: str
    """Its file name."""
    rows: int
    """Rows in it."""
    labelled: int
    """Rows with a gold label."""
    counts: list[tuple[str, int, float]]
    """The commonest labels: name, rows, share of the labelled rows."""
    more: int
    """How many labels are not listed."""

    @property
    def numbers(self) -> list[int]:
        """What the table of the data shows."""
        return [self.rows, self.labelled]


def data_files(provenance: Mapping[str, Any]) -> list[DataFile]:
    """The parts of the data in the order of their use."""
    files = []
    for part, facts in provenance.get("data", {}).items():
        if not isinstance(facts, Mapping):
            continue
        counts = {
            str(label): int(number) for label, number in (facts.get("label_counts") or {}).items()
        }
        labelled = int(facts.get("labelled") or 0)
        ordered = sorted(counts.items(), key=lambda item: -item[1])[:_SHOWN_COUNTS]
        names = facts.get("file") or ""
        names = [names] if isinstance(names, str) else names
        files.append(
            DataFile(
                part=str(part),
                file=", ".join(Path(str(name)).name or str(name) for name in names),
                rows=int(facts.get("rows") or 0),
                labelled=labelled,
                counts=[(label, number, number / max(labelled, 1)) for label, number in ordered],
                more=max(0, len(counts) - _SHOWN_COUNTS),
            )
        )
    return files
