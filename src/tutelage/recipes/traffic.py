"""The traffic that a server kept, as answers to one question.

In: a folder that `serve --record` filled, and the question. Out: texts, read as the server reads
them, with the upstream's distributions; those that were kept by chance apart from the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

_LONGEST = 1 << 26
"""Bytes of a line that are read; no exchange of a decision API has as many."""

if TYPE_CHECKING:
    from tutelage_runtime.serving.matching import Questions


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """N texts with distributions over C labels."""

    texts: list[str]
    probs: NDArray[np.float32]

    def where(self, kept: Sequence[bool]) -> Answered:
        """Those of them."""
        places = np.flatnonzero(kept)
        return Answered([self.texts[place] for place in places], self.probs[places])


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a folder of traffic holds."""

    drawn: Answered
    """Kept by chance."""
    forwarded: Answered
    """Kept because the student was unsure, or was not asked."""
    lines: int
    unread: int
    """Lines that are no exchange about these labels."""


def read_traffic(
    folder: Path, labels: Sequence[str], *, instructions: str | None = None
) -> Traffic:
    """The answers in a folder of traffic to one question.

    Args:
        folder: That `serve --record` filled.
        labels: Of the question.
        instructions: Of the question; None: whatever leads to these labels, as in a server.

    Raises:
        DataError: There is no traffic about these labels.
    """
    from tempfile import TemporaryDirectory

    from tutelage.teachers.recorded.reading import read_recorded
    from tutelage_runtime.cascade.recording import traffic_files
    from tutelage_runtime.serving.answering import ServedQuestion
    from tutelage_runtime.serving.matching import Questions

    files = traffic_files(folder) if folder.is_dir() else []
    if not files:
        raise DataError(
            f"{folder} holds no traffic: tutelage serve ... --record {folder} keeps it there"
        )
    lines = unread = 0
    parts: list[Answered] = []
    question = ServedQuestion("retrained", "", tuple(labels), instructions)
    served = Questions([question])
    with TemporaryDirectory() as temporary:
        paths = [Path(temporary) / name for name in ("drawn.jsonl", "forwarded.jsonl")]
        with (
            paths[0].open("w", encoding="utf-8") as drawn,
            paths[1].open("w", encoding="utf-8") as forwarded,
        ):
            for exchange in _exchanges(files):
                lines += 1
                text = None if exchange is None else asked_text(exchange, served)
                if exchange is None or text is None:
                    unread += 1
                    continue
                pair = {"text": text, **{key: exchange[key] for key in ("request", "response")}}
                file = drawn if exchange.get("drawn") is True else forwarded
                file.write(json.dumps(pair) + "\n")
        for path in paths:
            recorded, problems = read_recorded(path, labels) if path.stat().st_size else (None, [])
            unread += sum(problem.severity == "error" for problem in problems)
            texts = [] if recorded is None or recorded.texts is None else recorded.texts
            probs = np.zeros((0, len(labels)), np.float32) if recorded is None else recorded.probs
            parts.append(Answered(list(texts), probs))
    if not any(part.texts for part in parts):
        raise DataError(
            f"{folder} has {lines:,} exchanges and none answers a choice among "
            f"{', '.join(labels)}: give the run whose question was asked"
        )
    return Traffic(parts[0], parts[1], lines, unread)


def _exchanges(files: Sequence[Path]) -> Iterator[dict[str, Any] | None]:
    """Each line; None of one that is no exchange, such as half of the last one before a kill."""
    for path in files:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST):
                while len(line) == _LONGEST and not line.endswith(b"\n"):
                    line = file.readline(_LONGEST)  # its end is no exchange either
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    value = None
                whole = isinstance(value, dict) and {"request", "response"} <= value.keys()
                yield value if whole else None


def asked_text(exchange: Mapping[str, Any], served: Questions) -> str | None:
    """The text of an exchange, as the server reads it; None where it asks something else, several
    questions, or about several texts.
    """
    from tutelage_runtime.serving.answering import Refusal
    from tutelage_runtime.serving.limits import Limits
    from tutelage_runtime.serving.protocols import WIRES

    wire = WIRES.get(str(exchange.get("path", "/v1/decisions")))
    try:
        asked = None if wire is None else wire.read(exchange["request"], Limits())
        if asked is None or len(asked.questions) != 1 or len(asked.texts) != 1:
            return None
        served.find(asked.questions[0], "retrained")
    except (Refusal, TypeError, AttributeError):
        return None
    return asked.texts[0]
