"""How much a student may answer alone: a run and rows that nobody learned from in, a certificate
out; see `evaluate.certificates` for what it promises and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.data import read_table
from tutelage.errors import DataError, RecipeError, RunIncomplete
from tutelage.recipes.certified_students import Floats, Subject, chosen_student
from tutelage.recipes.predicting import recipe_of, run_of
from tutelage.runs import (
    RunFolder,
    atomic_write_bytes,
    atomic_write_json,
    fingerprint,
    lock,
    recorded,
)
from tutelage.types import SILENT, Example, Progress
from tutelage_runtime.certificate import (
    CERTIFICATE,
    EVERY_CLASS,
    FORMAT,
    NOVELTY,
    Score,
    certificate_sum,
)
from tutelage_runtime.novelty import Novelty, novelty_bytes

Over = Literal["all", "answered"]
Against = Literal["teacher", "labels"]
AUDIT_SHARE, AUDIT_ALPHA = 0.02, 0.01
"""Share of requests that is audited, and how often that may call a good student broken."""
MOST_TRAINING = 4000
"""Training rows that are looked at for the novelty gate, evenly spaced."""


def certify_run(
    path: Path,
    *,
    disagreement: float,
    confidence: float = 0.95,
    over: Over = "all",
    against: Against = "teacher",
    student: str | None = None,
    export: Path | None = None,
    per_class: bool = False,
    rows: Path | None = None,
    out: Path | None = None,
    price_per_million: float | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Find the largest share of requests that a student may answer alone, and write it down.

    The student is the one that answers most on validation rows, unless one is named; the score and
    the gate are fitted to validation and training rows; so the rows that certify are used once.

    Args:
        path: A run folder.
        disagreement: The largest share of disagreements, above 0 and below 1.
        confidence: With what probability, over draws of the rows, the promise is kept.
        over: Whether the share is of all requests or of those that are answered.
        against: Whether the student is to agree with the teacher or with gold labels.
        student: Which student of the run; None: chosen by validation rows.
        export: Folder of an exported student of this run, which is certified as it will answer;
            None: the student as it was trained, without a novelty gate.
        per_class: Whether every class gets its own threshold.
        rows: A table whose label column holds what `against` says; None: the run's test rows.
        out: Folder of the certificate; None: `certificates/STUDENT` in the run.
        price_per_million: What a million requests to the teacher cost, in any money; None: the
            money saved is not told.
        progress: Told what somebody should know.

    Returns:
        What certificate.json says, with `file`, its path, or with `file` None and nothing written
        where no share can be certified.

    Raises:
        RecipeError: The run is no classification, or has no such student.
        DataError: There are too few rows; the message says how many are needed.
        RunIncomplete: There are no soft targets, or nothing is trained.
        RunDamaged: The student, or the recipe, is not what was made; or a later version wrote a
            record of the run.
    """
    from tutelage.evaluate.certificates import require_rows
    from tutelage.evaluate.gates import fit_score
    from tutelage.tasks.classification.data import prepare_data

    run, recipe = run_of(path), recipe_of(path)
    for stage in recorded(run):
        stage.require_known()
    if recipe is None or recipe.task.kind != "classification":
        raise RecipeError(
            f"{path} is no run of a classification: give the folder of one, such as runs/NAME"
        )
    for name, value in (("disagreement", disagreement), ("confidence", confidence)):
        if not 0 < value < 1:
            raise RecipeError(f"--{name} {value:g} was given; expected above 0 and below 1")
    data = prepare_data(recipe)
    labels = list(recipe.task.labels)
    asked = _Asked(run, labels, against)
    known = {example.example_id for example in (*data.train, *data.unlabeled, *data.validation)}
    if rows is None:
        calibration, source = list(data.test), "test"
        truth = asked.truth(calibration)
    else:
        calibration, source = _rows_of(rows, recipe), rows.name
        truth = np.array([-1 if one.label is None else one.label for one in calibration])
    new = np.array([one.example_id not in known for one in calibration], dtype=bool) & (truth >= 0)
    if dropped := int((~new).sum()):
        progress.say(
            f"{dropped:,} of {len(calibration):,} rows are left out: the student learned from them "
            "or was chosen by them, or they have no answer to compare with"
        )
    calibration, truth = [calibration[place] for place in np.flatnonzero(new)], truth[new]
    require_rows(len(calibration), share=disagreement, confidence=confidence)

    validation = list(data.validation)
    expected = asked.truth(validation)
    validation, expected = _judged(validation, expected)
    subject, probs, features = chosen_student(
        run, student, export, labels, validation, expected, share=disagreement
    )
    gate = _novelty(subject, features, [*data.train, *data.unlabeled])
    score = fit_score(probs, probs.argmax(axis=1) != expected, share=disagreement)
    found = _measured(
        subject,
        score,
        gate,
        calibration,
        truth,
        (probs, features, expected),
        num_classes=len(labels),
        over=over,
        share=disagreement,
        confidence=confidence,
        per_class=per_class,
    )
    values: dict[str, Any] = {
        "format": FORMAT,
        "student": subject.version,
        "name": subject.name,
        "labels": labels,
        "against": against,
        "over": over,
        "disagreement": disagreement,
        "confidence": confidence,
        "rows_from": source,
        "score": {"weights": list(score.weights)},
        **found.told(labels),
        "audit": {
            "share": AUDIT_SHARE,
            "contract": disagreement,
            "alpha": AUDIT_ALPHA,
            "drawn_from": over,
        },
        "novelty": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if price_per_million is not None:
        values["price_per_million"] = price_per_million
        values["saved_per_million"] = round(
            price_per_million * values["coverage"] * (1 - AUDIT_SHARE), 6
        )
    if not found.answered:
        return values | {"file": None}
    content = b"" if gate is None else novelty_bytes(gate)
    if gate is not None:
        values["novelty"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "neighbours": gate.neighbours,
            "references": len(gate.reference),
            "threshold": gate.threshold,
            "false_alarms": found.called_new,
        }
    values["sum"] = certificate_sum(values)
    folder = RunFolder(run).certificates_path / subject.name if out is None else out
    if gate is not None:
        atomic_write_bytes(folder / NOVELTY, content)
    atomic_write_json(folder / CERTIFICATE, values)
    if folder.parent == RunFolder(run).certificates_path:
        given = {
            "disagreement": disagreement, "confidence": confidence, "over": over,
            "against": against, "student": subject.name, "per_class": per_class,
            "export": None if export is None else str(export.resolve()),
            "rows": None if rows is None else str(rows.resolve()),
            "price_per_million": price_per_million,
        }  # fmt: skip
        with lock(run):
            RunFolder(run).stage("report").withdraw()  # its page would not show this
            RunFolder(run).stage(f"certificates/{subject.name}").mark_done(
                fingerprint("certificate", subject.version, given),
                seconds=0.0,
                left=[folder],
                copied=[folder / CERTIFICATE],
                **given,
            )
    return values | {"file": str(folder / CERTIFICATE)}


@dataclass(frozen=True)
class _Asked:
    """With what a student is to agree."""

    run: Path
    labels: list[str]
    against: Against

    def truth(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """Class indexes [N]; -1 where there is no answer."""
        if self.against == "labels":
            return np.array(
                [-1 if one.label is None else one.label for one in examples], dtype=np.int64
            )
        from tutelage.targets import TargetStore

        place = RunFolder(self.run).targets_path
        if not place.is_dir():
            raise RunIncomplete(
                f"{self.run} has no soft targets to agree with: run it first with tutelage run "
                f"{self.run}, or take --against labels"
            )
        store = TargetStore.open(place, labels=self.labels)
        probs = store.lookup([one.example_id for one in examples])
        return np.asarray(probs).argmax(axis=1).astype(np.int64)


def _rows_of(file: Path, recipe: Any) -> list[Example]:
    """The rows of a table, with its labels."""
    if not file.exists():
        raise DataError(
            f"--rows {file}: there is no such file; correct the path, which starts where you stand"
        )
    table, problems = read_table(
        file,
        text_field=recipe.data.text_field,
        label_field=recipe.data.label_field,
        labels=recipe.task.labels,
        labels_required=True,
        column_advice="Rename it: rows are read with the columns that the run's recipe names",
        limits=recipe.data.limits,
    )
    if any(problem.severity == "error" for problem in problems):
        raise RecipeError(problems)
    return list(table.examples)


def _judged(
    examples: list[Example], truth: NDArray[np.int64]
) -> tuple[list[Example], NDArray[np.int64]]:
    """Those rows that there is an answer to compare with."""
    kept = np.flatnonzero(truth >= 0)
    return [examples[place] for place in kept], truth[kept]


def _novelty(
    subject: Subject, validation: Floats | None, training: list[Example]
) -> Novelty | None:
    """The gate, where the student tells features."""
    from tutelage.evaluate.gates import fit_novelty

    if validation is None or not training:
        return None
    spaced = training[:: max(1, len(training) // MOST_TRAINING)][:MOST_TRAINING]
    probs, features = subject.answer([one.text for one in spaced])
    assert features is not None
    return fit_novelty(features, probs.argmax(axis=1), validation)


@dataclass(frozen=True)
class _Measured:
    """What the calibration rows say."""

    thresholds: list[Any]
    """`Found` of each class, or one for all."""
    rows: int
    bound: float
    called_new: float | None
    per_class: bool

    @property
    def answered(self) -> int:
        """Rows that would be answered."""
        return sum(one.answered for one in self.thresholds)

    def told(self, labels: Sequence[str]) -> dict[str, Any]:
        """The part of certificate.json that these rows decide."""
        names = labels if self.per_class else [EVERY_CLASS]
        return {
            "rows": self.rows,
            "thresholds": {
                name: one.threshold for name, one in zip(names, self.thresholds, strict=True)
            },
            "coverage": self.answered / self.rows,
            "disagreed": sum(one.disagreed for one in self.thresholds),
            "bound": self.bound,
        }


def _measured(
    subject: Subject,
    score: Score,
    gate: Novelty | None,
    calibration: list[Example],
    truth: NDArray[np.int64],
    validation: tuple[Floats, Floats | None, NDArray[np.int64]],
    *,
    num_classes: int,
    over: Over,
    share: float,
    confidence: float,
    per_class: bool,
) -> _Measured:
    """The thresholds, once everything else stands."""
    from tutelage.evaluate.certificates import (
        candidates_over_answered,
        certify,
        certify_classes,
    )

    def judged(
        probs: Floats, features: Floats | None, expected: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
        new = np.zeros(len(probs), dtype=bool)
        if gate is not None and features is not None:
            new = gate.novel(features)
        answers = probs.argmax(axis=1)
        return np.where(new, -np.inf, score.of(probs)), answers != expected, answers, new

    known, known_wrong, known_answers, _ = judged(*validation)
    probs, features = subject.answer([one.text for one in calibration])
    scores, wrong, answers, new = judged(probs, features, truth)
    called_new = None if gate is None else float(new.mean())
    if not per_class:
        candidates = (
            candidates_over_answered(
                known, known_wrong, rows=len(scores), share=share, confidence=confidence
            )
            if over == "answered"
            else ()
        )
        found = certify(
            scores,
            wrong,
            over=over,
            share=share,
            confidence=confidence,
            candidates=candidates,
        )
        return _Measured([found], len(scores), found.bound, called_new, False)
    each = 1 - (1 - confidence) / num_classes
    by_class = [
        candidates_over_answered(
            known[known_answers == label],
            known_wrong[known_answers == label],
            rows=round(len(scores) * float((known_answers == label).mean())),
            share=share,
            confidence=each,
        )
        for label in range(num_classes)
    ]
    classes = certify_classes(
        scores,
        wrong,
        answers,
        num_classes,
        over=over,
        share=share,
        confidence=confidence,
        candidates=by_class,
    )
    bound = max((one.bound for one in classes if one.answered), default=0.0)
    return _Measured(classes, len(scores), bound, called_new, True)
