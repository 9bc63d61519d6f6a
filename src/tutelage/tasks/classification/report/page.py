"""What a classification run says: its part of the page, and its line beneath the table of the
terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tutelage.report import formats
from tutelage.report.curves import Learning, loss_charts
from tutelage.report.measures import Evaluation, Measures
from tutelage.report.origins import teacher_description
from tutelage.report.plots import CostAxis, QualityAxis
from tutelage.report.reading import Records
from tutelage.report.scores import RowScores
from tutelage.report.svg import PAPER, SERIES, frame, inline_svg
from tutelage.report.verdict import Verdict
from tutelage.report.words import Layout, Names, Phrases
from tutelage.tasks.classification.report.coverage import coverage_section
from tutelage.tasks.classification.report.examples import choose_examples, find_disagreements
from tutelage.tasks.classification.report.explanations import (
    strongest_words,
    what_was_looked_at,
)
from tutelage.tasks.classification.report.measures import COST_AXES, MEASURES, NAMES, TERMS
from tutelage.tasks.classification.report.members import members_section
from tutelage.tasks.classification.report.predictions import (
    Predictions,
    confusions,
    read_predictions,
    row_scores,
)
from tutelage.tasks.classification.report.replies import replies_of
from tutelage.tasks.classification.report.verdict import reach_verdict

DISAGREEMENT_CAP = 300
"""Rows of disagreement that the page holds at most, so that it stays small."""
LAYOUT = Layout(
    templates=Path(__file__).parent / "templates",
    parts=(
        "verdict.html",
        "asked.html",
        "replies.html",
        "numbers.html",
        "coverage.html",
        "members.html",
        "curves.html",
        "answers.html",
        "disagreements.html",
        "explanations.html",
        "comparisons.html",
        "provenance.html",
    ),
    sheets=("explanations.css",),
)


@dataclass(frozen=True)
class ClassificationWords:
    """What a classification says; see `tutelage.report.TaskWords`."""

    task: str = "classification"
    needed: Sequence[str] = ("labels", "rows")
    measures: Measures = MEASURES
    names: Names = NAMES
    terms: Sequence[tuple[str, str]] = TERMS
    cost_axes: Sequence[CostAxis] = COST_AXES
    layout: Layout = LAYOUT
    disagreement_cap: int = DISAGREEMENT_CAP

    def read_tested(self, path: Path, evaluation: Evaluation) -> Predictions:
        """The test rows and what every model answered."""
        return read_predictions(path, evaluation)

    def row_scores(self, path: Path, evaluation: Evaluation) -> RowScores:
        """Right answers and negative log-likelihood of labelled rows."""
        return row_scores(path, evaluation)

    def quality_axis(self, evaluation: Evaluation) -> QualityAxis:
        """Accuracy, or agreement without gold labels, with the simple methods as lines."""
        measure = self.measures["accuracy" if _is_judged(evaluation) else "agreement"]
        return QualityAxis(
            measure,
            title=f"{measure.title.lower()} on test rows, with 95 % intervals",
            levels={
                self.names.baseline(name).title: model[measure.key]["value"]
                for name, model in evaluation.get("baselines", {}).items()
                if measure.key in model
            },
        )

    def phrases(self, evaluation: Evaluation) -> Phrases:
        """Words for the templates of the report."""
        judged, rows = _is_judged(evaluation), evaluation["rows"]
        labelled = evaluation.get("labelled_rows", rows) if judged else rows
        best = "most accurate" if judged else "closest"
        return Phrases(
            unit="row",
            tested=formats.plural(rows, "test row"),
            judged_on=formats.plural(labelled, "test row"),
            best=f"the {best} of {len(evaluation['students'])} students",
            note="",
            alone="labels alone",
            price="Cost of an answer",
            plot="Dotted lines: methods that cost next to nothing.",
            predicted="test rows",
            counted="rows",
            answers="answers",
            learning=(
                "Grey: loss on train, step by step. Colour: loss on validation, epoch by epoch; "
                "the ring marks the epoch whose weights were kept. Loss with soft targets and on "
                "labels alone are different quantities and cannot be compared with each other; "
                "validation accuracy can."
            ),
        )

    def verdict(self, records: Records[Predictions]) -> Verdict:
        """The top of the page."""
        return reach_verdict(records.evaluation)

    def learning(self, records: Records[Predictions]) -> list[Learning]:
        """The charts of training."""
        return learning_charts(records)

    def context(self, records: Records[Predictions]) -> dict[str, Any]:
        """What the templates of this folder are filled with."""
        evaluation, predictions = records.evaluation, records.predictions
        labels = list(evaluation["labels"])
        disagreements, disagreement_count = find_disagreements(
            predictions, labels, cap=self.disagreement_cap
        )
        return {
            "labels": labels,
            "replies": replies_of(records.provenance),
            "judged": _is_judged(evaluation),
            "rows": evaluation["rows"],
            "teacher": teacher_description(records),
            "examples": choose_examples(predictions, labels),
            "confusions": confusions(predictions, labels),
            "disagreements": disagreements,
            "disagreement_count": disagreement_count,
            "coverage": coverage_section(predictions, records.certificates),
            "members": members_section(evaluation, predictions),
            "strongest": strongest_words(evaluation),
            "looked_at": what_was_looked_at(evaluation, predictions),
            "data_files": data_files(records.provenance),
            "data_columns": ["Rows", "Labelled"],
        }

    def legend(self, evaluation: Evaluation) -> str:
        """What must be known to read the table of the terminal."""
        rows = formats.plural(evaluation["rows"], "test row")
        timed = evaluation["teacher"].get("latency_ms_p50") is not None
        faster = "faster: times the teacher's" if timed else "the teacher's answers are not timed"
        legend = f"{rows}; ms: median for one text; {faster}."
        devices = evaluation.get("devices", {})
        if len(set(devices.values())) > 1:
            places = ", ".join(f"{device} ({who})" for who, device in devices.items())
            legend += f"\nMeasured on {places}."
        return legend


def _is_judged(evaluation: Evaluation) -> bool:
    """Whether test rows carry gold labels."""
    return "accuracy" in evaluation["teacher"]


WORDS = ClassificationWords()


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


def learning_charts(records: Records[Any]) -> list[Learning]:
    """The charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = records.student_curves.get(name, []), records.control_curves.get(name, [])
        pictures = loss_charts(soft, hard, slot=slot, name=name, alone="labels alone")
        if any("validation_accuracy" in row for row in [*soft, *hard]):
            chart = validation_accuracy(soft, hard, slot=slot, key=f"learning-{slot}", name=name)
            pictures.append(("Validation accuracy, %", chart))
        if pictures:
            learning.append(Learning(name, slot, pictures))
    return learning


def validation_accuracy(
    soft: Sequence[Mapping[str, Any]],
    hard: Sequence[Mapping[str, Any]],
    *,
    slot: int,
    key: str,
    name: str,
) -> Markup:
    """Validation accuracy per epoch, trained on soft targets (solid) and on labels alone
    (dashed).
    """
    colour = SERIES[slot % 6]
    figure, axes = frame(340, 210, left=44, right=12, top=12, bottom=42)
    shown: list[float] = []
    for records, style, face in ((hard, (0, (4, 2)), PAPER), (soft, "-", colour)):
        points = [
            (row["step"], 100 * row["validation_accuracy"])
            for row in records
            if row.get("validation_accuracy") is not None
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4.5,
                markerfacecolor=face,
            )
            shown += [accuracy for _, accuracy in points]
    if shown:
        room = max(2.0, 0.12 * (max(shown) - min(shown)))
        axes.set_ylim(max(0, min(shown) - room), min(100.5, max(shown) + room))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.set_xlabel("optimiser step", fontsize=10.5)
    return inline_svg(
        figure,
        key=key,
        description=(
            f"Validation accuracy of {name} by step, trained on soft targets and on labels alone."
        ),
    )
