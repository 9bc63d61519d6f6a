"""In a whole run the teacher reads each text once, and what it read is gone when nobody asks for
it any more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.journeys.tiny_job import run_here, sentences

from tutelage.students.vocabulary import token_vectors
from tutelage.teachers.classifier import features, reading

CHANGES = ("students.gru.embeddings=teacher_contextual", "train.epochs=1")
PROBE = (5, 6, 7)
"""What the teacher is asked to find out whether it is causal."""


def test_fit_targets_and_students_share_one_reading(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job / "unlabeled.csv").write_text(
        "text\n" + "".join(f"{text} again\n" for text, _ in sentences(40, seed=7)), "utf-8"
    )
    changes = (*CHANGES, "data.unlabeled=unlabeled.csv")
    read: Counter[tuple[int, ...]] = Counter()
    pad = features.pad

    def count(rows, *args, **options):
        read.update(tuple(row) for row in rows if tuple(row) != PROBE[: len(row)])
        return pad(rows, *args, **options)

    def refuse(_student, _teacher, texts):
        assert not texts, "texts are read for a student's embeddings"

    monkeypatch.setattr(features, "pad", count)
    monkeypatch.setattr(token_vectors, "_token_ends", refuse)
    monkeypatch.setattr(reading, "TEXTS_PER_PART", 50)
    write = reading.atomic_write_bytes
    written = 0

    def die(path, content):
        nonlocal written
        written += 1
        if written == 3:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(reading, "atomic_write_bytes", die)
    with pytest.raises(KeyboardInterrupt):
        run_here(job, *changes, until="train")
    assert sum(read.values()) == 120  # in the middle of the fit, 100 of them kept
    outcome = run_here(job, *changes, until="train")
    assert len(read) == 240
    assert sum(read.values()) == 240 + 20
    parts = list((outcome.folder.path / "readings").glob("*.safetensors"))
    assert len(parts) == 6
    monkeypatch.setattr(features, "pad", pad)
    run_here(job, *changes, until="evaluate")
    assert not (outcome.folder.path / "readings").exists()
