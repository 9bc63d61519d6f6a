"""What a classification run says: its part of the page, and its line beneath the table of the
terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.report import formats
from tutelage.report.curves import Learning
from tutelage.report.measures import Evaluation, Measures
from tutelage.report.origins import teacher_description
from tutelage.report.plots import CostAxis, QualityAxis
from tutelage.report.reading import Records
from tutelage.report.verdict import Verdict
from tutelage.report.words import Layout, Names, Phrases
from tutelage.tasks.classification.report.confusions import confusions
from tutelage.tasks.classification.report.data_files import data_files
from tutelage.tasks.classification.report.examples import choose_examples, find_disagreements
from tutelage.tasks.classification.report.learning import learning_charts
from tutelage.tasks.classification.report.measures import COST_AXES, MEASURES, NAMES, TERMS
from tutelage.tasks.classification.report.predictions import Predictions, read_predictions
from tutelage.tasks.classification.report.verdict import reach_verdict

DISAGREEMENT_CAP = 300
"""Rows of disagreement that the page holds at most, so that it stays small."""
LAYOUT = Layout(
    templates=Path(__file__).parent / "templates",
    parts=(
        "verdict.html",
        "asked.html",
        "numbers.html",
        "curves.html",
        "answers.html",
        "disagreements.html",
        "comparisons.html",
        "provenance.html",
    ),
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
            "judged": _is_judged(evaluation),
            "rows": evaluation["rows"],
            "teacher": teacher_description(records),
            "examples": choose_examples(predictions, labels),
            "confusions": confusions(predictions, labels),
            "disagreements": disagreements,
            "disagreement_count": disagreement_count,
            "data_files": data_files(records.provenance),
            "data_columns": ["Rows", "Labelled"],
        }

    def legend(self, evaluation: Evaluation) -> str:
        """What must be known to read the table of the terminal."""
        rows = formats.plural(evaluation["rows"], "test row")
        legend = f"{rows}; ms: median for one text; faster: times the teacher's."
        devices = evaluation.get("devices", {})
        if len(set(devices.values())) > 1:
            places = ", ".join(f"{device} ({who})" for who, device in devices.items())
            legend += f"\nMeasured on {places}."
        return legend


def _is_judged(evaluation: Evaluation) -> bool:
    """Whether test rows carry gold labels."""
    return "accuracy" in evaluation["teacher"]


WORDS = ClassificationWords()
