"""Who is certified: a student of a run, as it was trained or as it was exported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, ModelError, RecipeError, RunIncomplete
from tutelage.recipes.predicting import holds_model
from tutelage.runs import RunFolder, require_undamaged
from tutelage.runs.digests import file_sha256
from tutelage.types import Example
from tutelage_runtime.certificate import Score

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Subject:
    """A student to be certified."""

    name: str
    """In its run."""
    version: str
    """Of its content."""
    answer: Answer
    """What answers."""


class Answer(Protocol):
    """Texts in; probabilities [N, C] and features [N, D], None where there are none, out."""

    def __call__(self, texts: Sequence[str], /) -> tuple[Floats, Floats | None]:
        """Answer texts."""
        ...


def chosen_student(
    run: Path,
    student: str | None,
    export: Path | None,
    labels: list[str],
    validation: list[Example],
    expected: NDArray[np.int64],
    *,
    share: float,
) -> tuple[Subject, Floats, Floats | None]:
    """The student that answers most alone on validation rows, with its answers to them.

    Args:
        run: The run folder.
        student: Its name; None: whichever is best.
        export: Folder of its export, which then answers; None: the student as it was trained.
        labels: Of the run.
        validation: Rows that choose.
        expected: [m], the class that each should be given.
        share: The share of disagreements over all rows at which students are compared.

    Returns:
        The student, and the probabilities and features of these rows.

    Raises:
        DataError: There are no such rows.
        RecipeError: The run has no such student, or the export is of another run.
        RunIncomplete: Nothing is trained.
        RunDamaged: The student is not what was trained.
        ModelError: The export cannot be read.
    """
    from tutelage.evaluate.gates import answered_at

    if not validation:
        raise DataError(
            f"{run} has no validation rows with an answer, and they choose the student and its "
            "score: give data.validation such rows"
        )
    texts = [one.text for one in validation]
    if export is not None:
        subjects = [_exported(export, labels, student)]
    else:
        students = RunFolder(run).students_path
        names = sorted(place.name for place in students.glob("*") if holds_model(place))
        if not names:
            raise RunIncomplete(f"{run} holds no trained student: tutelage run {run}")
        if student is not None and student not in names:
            raise RecipeError(f"{run} has no student {student!r}; it has {', '.join(names)}")
        subjects = [_trained(run, name) for name in (names if student is None else [student])]
    best: tuple[tuple[float, float], Subject, Floats, Floats | None] | None = None
    for subject in subjects:
        probs, features = subject.answer(texts)
        wrong = probs.argmax(axis=1) != expected
        promise = answered_at(Score().of(probs), wrong, share=share), -float(wrong.mean())
        if best is None or promise > best[0]:
            best = promise, subject, probs, features
    assert best is not None
    return best[1:]


def _trained(run: Path, name: str) -> Subject:
    """A student as it was trained, which tells no features."""
    from tutelage.students import load_classifier

    require_undamaged(run, [f"students/{name}"])
    folder = RunFolder(run).students_path / name
    classifier = load_classifier(folder)

    def answer(texts: Sequence[str], /) -> tuple[Floats, Floats | None]:
        return classifier.probs(texts), None

    return Subject(name, trained_version(folder), answer)


def trained_version(folder: Path) -> str:
    """The version of a student that was not exported: of its configuration, weights and words."""
    files = sorted(
        place
        for place in folder.iterdir()
        if place.is_file() and place.suffix in (".json", ".safetensors", ".npy")
    )
    named = "".join(f"{place.name} {file_sha256(place)}\n" for place in files)
    return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


def _exported(folder: Path, labels: list[str], student: str | None) -> Subject:
    """A student as it was exported."""
    from tutelage_runtime.bundle import BundleError
    from tutelage_runtime.session import load

    try:
        loaded = load(folder)
    except BundleError as error:
        raise ModelError(str(error)) from None
    if list(loaded.question.labels) != labels:
        raise RecipeError(
            f"{folder} answers {', '.join(loaded.question.labels)}, and the run "
            f"{', '.join(labels)}: give an export of this run"
        )
    name = loaded.bundle.name
    if (
        name in ("", "..") or name != Path(name).name
    ):  # the certificate lies in a folder of this name
        raise ModelError(f"{folder} names its student {name[:60]!r}: export the student again")
    if student is not None and student != name:
        raise RecipeError(f"{folder} is an export of {name}, not of {student}: leave one out")

    def answer(texts: Sequence[str], /) -> tuple[Floats, Floats | None]:
        said = loaded.answer(texts)
        return said.probs, said.features

    return Subject(name, loaded.version, answer)
