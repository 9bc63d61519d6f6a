"""From a run folder to `report.html`: read, compute what is said and drawn, render, write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tutelage import runs
from tutelage.report import charts, confusions, formats, origins, pictures, rows, tables
from tutelage.report.language_page import language_context
from tutelage.report.measures import BY_KEY, TERMS
from tutelage.report.reading import Predictions, Records, read_run
from tutelage.report.standing import baseline_title
from tutelage.report.verdict import reach_verdict
from tutelage.report.wording import Wording

DISAGREEMENT_CAP = 300
"""Rows of disagreement that the page holds at most, so that it stays small."""
_TEMPLATES = Path(__file__).parent / "templates"
_COST_AXES = (
    pictures.CostAxis(
        "latency_ms_p50",
        "Latency",
        "milliseconds per answer, median, one text at a time (log scale)",
        "ms per answer, median (log scale)",
    ),
    pictures.CostAxis(
        "parameters", "Parameters", "parameters (log scale)", "parameters (log scale)"
    ),
    pictures.CostAxis(
        "disk_bytes",
        "Size on disk",
        "megabytes on disk (log scale)",
        "MB on disk (log scale)",
        scale=1e-6,
    ),
)


def write_report(run: Path, *, out: Path | None = None) -> Path:
    """Write the report of a finished run as one HTML page that fetches nothing.

    The page is a function of the run's files: the same files give the same bytes.

    Args:
        run: The run folder; recipe, evaluation and predictions must be there, training logs and
            provenance may be
        missing.
        out: The file to write; None writes `report.html` into the run folder.

    Returns:
        The file written.

    Raises:
        RunIncomplete: The run has not been evaluated.
        DataError: A file of the run cannot be read or does not match the others.
    """
    path = runs.RunFolder(run).report_path if out is None else out
    runs.atomic_write_text(path, render(read_run(run)))
    return path


def render(records: Records[Any]) -> str:
    """The page as text.

    Args:
        records: What the run left behind.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": formats.percent,
        "count": formats.count,
        "plural": formats.plural,
        "shortened": formats.shortened,
    }
    context = _context(records) if records.task == "classification" else language_context(records)
    return environment.get_template("page.html").render(context)


def _context(records: Records[Predictions]) -> dict[str, Any]:
    """Everything the template places, in the order of the page."""
    evaluation, predictions, labels = records.evaluation, records.predictions, records.labels
    quality, cost = tables.shown_measures(evaluation)
    disagreements, disagreement_count = rows.find_disagreements(
        predictions, labels, cap=DISAGREEMENT_CAP
    )
    return {
        "sheets": ["page.css"],
        "nav": "nav.html",
        "parts": [
            "verdict.html",
            "asked.html",
            "numbers.html",
            "curves.html",
            "answers.html",
            "disagreements.html",
            "comparisons.html",
            "provenance.html",
        ],
        "wording": _wording(evaluation),
        "name": records.name,
        "labels": labels,
        "judged": "accuracy" in evaluation["teacher"],
        "rows": evaluation["rows"],
        "students": records.students,
        "controls": list(evaluation.get("controls", {})),
        "verdict": reach_verdict(evaluation),
        "teacher": origins.teacher_description(records),
        "student_descriptions": origins.student_descriptions(records),
        "quality": quality,
        "cost": cost,
        "lines": tables.score_lines(evaluation),
        "plots": _plots(evaluation),
        "calibrations": pictures.calibrations(evaluation, BY_KEY["ece"], unit="rows"),
        "learning": _learning(records),
        "examples": rows.choose_examples(predictions, labels),
        "confusions": confusions.confusions(predictions, labels),
        "disagreements": disagreements,
        "disagreement_count": disagreement_count,
        "comparisons": [
            (slot, name, tables.opponents(evaluation, name))
            for slot, name in enumerate(records.students)
        ],
        "metrics_of": tables.metrics_of,
        "measures": [*quality, *cost],
        "terms": TERMS,
        "data_files": origins.data_files(records.provenance),
        "data_columns": ["Rows", "Labelled"],
        **origins.provenance_section(records),
    }


def _wording(evaluation: Mapping[str, Any]) -> Wording:
    """The words of a classification."""
    judged = "accuracy" in evaluation["teacher"]
    rows = evaluation["rows"]
    labelled = evaluation.get("labelled_rows", rows) if judged else rows
    return Wording(
        unit="row",
        tested=formats.plural(rows, "test row"),
        judged_on=formats.plural(labelled, "test row"),
        best=f"the {'most accurate' if judged else 'closest'} of {len(evaluation['students'])} students",
        note="",
        alone="labels alone",
        price="Cost of an answer",
        better="Up",
        plot="Dotted lines: methods that cost next to nothing.",
        predicted="test rows",
        answers="answers",
        learning=(
            "Grey: loss on train, step by step. Colour: loss on validation, epoch by epoch; the "
            "ring marks the epoch "
            "whose weights were kept. Loss with soft targets and on labels alone are different "
            "quantities and cannot "
            "be compared with each other; validation accuracy can."
        ),
    )


def _plots(evaluation: Mapping[str, Any]) -> list[pictures.Plot]:
    """Quality against each cost, with the simple methods as lines."""
    metric = BY_KEY["accuracy" if "accuracy" in evaluation["teacher"] else "agreement"]
    levels = {
        baseline_title(name): model[metric.key]["value"]
        for name, model in evaluation.get("baselines", {}).items()
        if metric.key in model
    }
    title = f"{metric.title.lower()} on test rows, with 95 % intervals"
    return pictures.plots(evaluation, metric, _COST_AXES, title=title, levels=levels)


def _learning(records: Records[Predictions]) -> list[dict[str, Any]]:
    """Loss and accuracy charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = records.student_curves.get(name, []), records.control_curves.get(name, [])
        pictures: list[tuple[str, Markup]] = []
        if soft:
            pictures.append(
                (
                    "Loss with the teacher",
                    charts.losses(
                        soft, slot=slot, control=False, key=f"loss-soft-{slot}", name=name
                    ),
                )
            )
        if hard:
            title = f"{name} on labels alone"
            pictures.append(
                (
                    "Loss on labels alone",
                    charts.losses(
                        hard, slot=slot, control=True, key=f"loss-hard-{slot}", name=title
                    ),
                )
            )
        if any("validation_accuracy" in row for row in [*soft, *hard]):
            picture = charts.validation_accuracy(
                soft, hard, slot=slot, key=f"learning-{slot}", name=name
            )
            pictures.append(("Validation accuracy, %", picture))
        if pictures:
            learning.append({"name": name, "slot": slot, "pictures": pictures})
    return learning
