"""The test documents of a language-model run: how well every model predicted each, next-token
probabilities, samples, the documents farthest from the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage import metrics
from tutelage.report import formats
from tutelage.report.measures import Evaluation
from tutelage.report.reading import read_columns, sources_of, texts_of
from tutelage.report.scores import RowScores

DOCUMENT_CHARACTERS, SAMPLE_CHARACTERS, CONTEXT_CHARACTERS = 500, 2000, 300
_VISIBLE = str.maketrans({"\n": "↵", "\r": "↵", "\t": "⇥", " ": "␣"})


@dataclass(frozen=True)
class Voice:
    """A model that speaks in an example."""

    name: str
    """Its name for people."""
    role: str
    """teacher, student or control."""
    slot: int | None
    """Position of the student; None for the teacher."""


@dataclass(frozen=True)
class Position:
    """One position of a test text with everybody's probabilities for the next token."""

    context: str
    """What stands before it."""
    space: str
    """The space between the two, if there is one."""
    next: str
    """The token that stands there."""
    tokens: list[tuple[str, bool]]
    """The teacher's most probable tokens, and whether each is the one that stands there."""
    lines: list[tuple[Voice, list[float]]]
    """Everybody's probabilities of these tokens, and of all others together."""


@dataclass(frozen=True)
class Sample:
    """One beginning, and how every model goes on."""

    prompt: str
    """The beginning."""
    continuations: list[tuple[Voice, str]]
    """The texts."""


@dataclass(frozen=True)
class Distance:
    """What one student made of one document."""

    voice: Voice
    """The student."""
    nats: str
    """Its nats per token."""
    kl: str
    """Its KL from the teacher."""
    control: str
    """Its control's nats per token; empty without one."""


@dataclass(frozen=True)
class FarDocument:
    """One test document on which a student is far from its teacher."""

    text: str
    """The text, cut if long."""
    source: str
    """Where it came from."""
    tokens: int
    """Predicted tokens."""
    teacher: str
    """The teacher's nats per token."""
    distances: list[Distance]
    """Every student's."""


def list_voices(evaluation: Evaluation) -> dict[str, Voice]:
    """Everybody by the name used in evaluation.json, each student followed by its control."""
    found = {"teacher": Voice("Teacher", "teacher", None)}
    for slot, name in enumerate(evaluation["students"]):
        found[f"students.{name}"] = Voice(name, "student", slot)
        if name in evaluation.get("controls", {}):
            found[f"controls.{name}"] = Voice("on the text alone", "control", slot)
    return found


def find_positions(evaluation: Evaluation) -> list[Position]:
    """The positions whose probabilities the evaluation kept; they were drawn at random."""
    speakers = list_voices(evaluation)
    found = []
    for kept in evaluation.get("distributions") or []:
        answers = {"teacher": kept["teacher"], **kept["models"]}
        # A token may come twice where its text is only a part of a letter.
        marks = [token == kept["next"] for token in kept["tokens"]]
        marks = [mark and not any(marks[:index]) for index, mark in enumerate(marks)]
        found.append(
            Position(
                context="…" + kept["context"][-CONTEXT_CHARACTERS:],
                space=" " if kept["next"].startswith(" ") else "",
                next=kept["next"].strip() or kept["next"].translate(_VISIBLE),
                tokens=list(zip(_shown_tokens(kept["tokens"]), marks, strict=True)),
                lines=[
                    (voice, [*answers[name], max(0.0, 1.0 - sum(answers[name]))])
                    for name, voice in speakers.items()
                    if name in answers
                ],
            )
        )
    return found


def find_samples(evaluation: Evaluation) -> list[Sample]:
    """Everybody's continuations of the same beginnings."""
    speakers = list_voices(evaluation)
    return [
        Sample(
            prompt=formats.shortened(sample["prompt"], SAMPLE_CHARACTERS),
            continuations=[
                (voice, formats.shortened(sample["continuations"][name], SAMPLE_CHARACTERS))
                for name, voice in speakers.items()
                if name in sample["continuations"]
            ],
        )
        for sample in evaluation.get("samples") or []
    ]


def farthest_documents(scores: DocumentScores, *, cap: int) -> list[FarDocument]:
    """The test documents on which some student is farthest from its teacher, by mean KL per token.

    Args:
        scores: The test documents.
        cap: How many to give at most.
    """
    if not scores.student_kl:
        return []
    farthest = np.max(list(scores.student_kl.values()), axis=0)
    return [_far_document(scores, int(row)) for row in np.argsort(-farthest, kind="stable")[:cap]]


def _far_document(scores: DocumentScores, row: int) -> FarDocument:
    return FarDocument(
        text=formats.shortened(scores.texts[row], DOCUMENT_CHARACTERS),
        source=scores.sources[row],
        tokens=int(scores.tokens[row]),
        teacher=formats.decimal(scores.teacher[row]),
        distances=[
            Distance(
                Voice(name, "student", slot),
                formats.decimal(scores.students[name][row]),
                formats.decimal(scores.student_kl[name][row]),
                formats.decimal(scores.controls[name][row]) if name in scores.controls else "",
            )
            for slot, name in enumerate(scores.students)
        ],
    )


def _shown_tokens(tokens: Sequence[str]) -> list[str]:
    """Tokens as people read them: without the space before them, unless only that tells two
    apart.
    """
    bare = [token.strip() for token in tokens]
    return [
        short if short and bare.count(short) == 1 else token.translate(_VISIBLE)
        for token, short in zip(tokens, bare, strict=True)
    ]


Values = NDArray[np.float64]


@dataclass(frozen=True)
class DocumentScores:
    """The test documents and what every model made of them."""

    texts: list[str]
    """The texts, as the models read them."""
    sources: list[str]
    """File and row of each document, for people who want to look it up."""
    units: NDArray[np.int64]
    """Which whole document each belongs to, [N]: pieces of one row are resampled together."""
    tokens: Values
    """Predicted tokens of each document, [N]."""
    teacher: Values
    """The teacher's mean nats per token, [N]."""
    students: dict[str, Values]
    """The same by student, [N]."""
    controls: dict[str, Values]
    """The same by student, of the same network trained on the text alone, [N]."""
    student_kl: dict[str, Values]
    """Mean KL(teacher || student) per token in nats, by student, [N]."""

    @property
    def in_pieces(self) -> bool:
        """Whether a document was split."""
        return len(set(self.units.tolist())) < len(self.units)


def read_document_scores(path: Path, evaluation: Evaluation) -> DocumentScores:
    """Read predictions.parquet of a language-model run.

    Args:
        path: The file.
        evaluation: The content of evaluation.json, which says whose columns are there.

    Raises:
        DataError: A column is missing.
    """
    students, controls = list(evaluation["students"]), list(evaluation.get("controls", {}))
    compared = [name for name in students if "kl" in evaluation["students"][name]]
    columns = [f"students.{name}" for name in students]
    columns += [f"students.{name}.kl" for name in compared]
    columns += [f"controls.{name}" for name in controls]
    table = read_columns(path, ["tokens", "teacher", *columns])

    def values(column: str) -> Values:
        """One column, [N]."""
        return np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)

    rows = list(zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True))
    return DocumentScores(
        texts=texts_of(table),
        sources=sources_of(table),
        units=metrics.units_of(rows),
        tokens=values("tokens"),
        teacher=values("teacher"),
        students={name: values(f"students.{name}") for name in students},
        controls={name: values(f"controls.{name}") for name in controls},
        student_kl={name: values(f"students.{name}.kl") for name in compared},
    )


def row_scores(path: Path, evaluation: Evaluation) -> RowScores:
    """What runs are compared by: nats per token, where documents have the same tokens, and bits per
    byte, where they have the same bytes.

    Args:
        path: predictions.parquet.
        evaluation: The content of evaluation.json.

    Raises:
        DataError: A column is missing.
    """
    students = {name: f"students.{name}" for name in evaluation["students"]}
    table = read_columns(path, ["tokens", "bytes", "teacher", *students.values()])

    def column(name: str) -> Values:
        """Numbers; what nothing is known of counts nothing, for it has no tokens either."""
        values = table[name].to_numpy(zero_copy_only=False)
        return np.nan_to_num(np.asarray(values, np.float64))

    def scores(name: str) -> dict[str, Values]:
        """Nats and bits of every document."""
        nats = column(name) * tokens
        return {"nats_per_token": nats, "bits_per_byte": nats / np.log(2)}

    tokens, num_bytes, texts = column("tokens"), column("bytes"), texts_of(table)
    places = zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True)
    return RowScores(
        keys=list(zip(texts, num_bytes.tolist(), strict=True)),
        places=[(source or "", row or 0) for source, row in places],
        totals={"nats_per_token": tokens, "bits_per_byte": num_bytes},
        teacher=scores("teacher"),
        students={name: scores(name_of) for name, name_of in students.items()},
    )
