"""From a run folder to `report.html`: read, compute what is said and drawn, render, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tutelage import runs
from tutelage.report import charts, confusions, formats, origins, rows, tables, tradeoff
from tutelage.report.measures import BY_KEY, TERMS
from tutelage.report.reading import Records, read_run
from tutelage.report.standing import baseline_title
from tutelage.report.verdict import reach_verdict

DISAGREEMENT_CAP = 300
"""Rows of disagreement that the page holds at most, so that it stays small."""
_TEMPLATES = Path(__file__).parent / "templates"
_COST_AXES = (
    (
        "latency_ms_p50",
        "Latency",
        "milliseconds per answer, median, one text at a time (log scale)",
        "ms per answer, median (log scale)",
    ),
    ("parameters", "Parameters", "parameters (log scale)", "parameters (log scale)"),
    ("disk_bytes", "Size on disk", "megabytes on disk (log scale)", "MB on disk (log scale)"),
)


def write_report(run: Path, *, out: Path | None = None) -> Path:
    """Write the report of a finished run as one HTML page that fetches nothing.

    The page is a function of the run's files: the same files give the same bytes.

    Args:
        run: The run folder; recipe, evaluation and predictions must be there, training logs and provenance may be
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


def render(records: Records) -> str:
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
    return environment.get_template("page.html").render(_context(records))


def _context(records: Records) -> dict[str, Any]:
    """Everything the template places, in the order of the page."""
    evaluation, predictions, labels = records.evaluation, records.predictions, records.labels
    quality, cost = tables.shown_measures(evaluation)
    disagreements, disagreement_count = rows.find_disagreements(predictions, labels, cap=DISAGREEMENT_CAP)
    stage_times, total_time = origins.stages(records.provenance)
    return {
        "name": records.name,
        "labels": labels,
        "judged": "accuracy" in evaluation["teacher"],
        "rows": evaluation["rows"],
        "labelled_rows": evaluation.get("labelled_rows", evaluation["rows"]),
        "students": records.students,
        "controls": list(evaluation.get("controls", {})),
        "verdict": reach_verdict(evaluation),
        "teacher": origins.teacher_description(records),
        "student_descriptions": origins.student_descriptions(records),
        "quality": quality,
        "cost": cost,
        "lines": tables.score_lines(evaluation),
        "plots": _plots(evaluation),
        "calibrations": _calibrations(evaluation),
        "learning": _learning(records),
        "examples": rows.choose_examples(predictions, labels),
        "confusions": confusions.confusions(predictions, labels),
        "disagreements": disagreements,
        "disagreement_count": disagreement_count,
        "comparisons": [(slot, name, tables.opponents(evaluation, name)) for slot, name in enumerate(records.students)],
        "metrics_of": tables.metrics_of,
        "measures": [*quality, *cost],
        "terms": TERMS,
        "data_files": origins.data_files(records.provenance),
        "warnings": [str(warning) for warning in records.provenance.get("warnings") or []],
        "stages": stage_times,
        "total_time": total_time,
        "facts": origins.facts(records),
        "packages": origins.packages(records.provenance),
        "fingerprints": origins.fingerprints(records.provenance),
        "recipe_text": records.recipe_text,
    }


def _plots(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Quality against each cost that was measured for the teacher and some student, wide and narrow."""
    metric = BY_KEY["accuracy" if "accuracy" in evaluation["teacher"] else "agreement"]
    levels = {
        baseline_title(name): model[metric.key]["value"]
        for name, model in evaluation.get("baselines", {}).items()
        if metric.key in model
    }
    plots = []
    for key, title, wide_title, narrow_title in _COST_AXES:
        points = _points(evaluation, metric.key, key, scale=1e-6 if key == "disk_bytes" else 1.0)
        if sum(point.role == "student" for point in points) == 0 or len(points) < 2:
            continue
        editions = [
            tradeoff.quality_against_cost(
                points,
                cost_title=narrow_title if narrow else wide_title,
                quality_title=f"{metric.title.lower()} on test rows, with 95 % intervals",
                levels=levels,
                key=f"cost-{key.replace('_', '-')}-{'narrow' if narrow else 'wide'}",
                narrow=narrow,
            )
            for narrow in (False, True)
        ]
        plots.append({"key": key, "title": title, "wide": editions[0], "narrow": editions[1]})
    return plots


def _points(evaluation: Mapping[str, Any], metric: str, cost: str, *, scale: float) -> list[tradeoff.Point]:
    """The models with both numbers. A model without a quality of its own (the teacher's agreement) counts as 1."""
    same = {"value": 1.0, "low": 1.0, "high": 1.0}
    models: list[tuple[str, str, int, Mapping[str, Any]]] = [
        ("teacher", "teacher", 0, {metric: same} | evaluation["teacher"])
    ]
    slots = {name: slot for slot, name in enumerate(evaluation["students"])}
    models += [(name, "student", slots[name], model) for name, model in evaluation["students"].items()]
    models += [(name, "control", slots.get(name, 0), model) for name, model in evaluation.get("controls", {}).items()]
    points = []
    for name, role, slot, model in models:
        # A control is the same network as its student, so it costs the same even where nobody timed it.
        price = model.get(cost) or (evaluation["students"].get(name, {}).get(cost) if role == "control" else None)
        if price and price["value"] > 0 and metric in model:
            points.append(tradeoff.Point(name, role, slot, price["value"] * scale, model[metric]))
    return points


def _calibrations(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One small chart for the teacher and one for each student with its control."""
    curves = evaluation.get("calibration") or {}
    found = []

    def add(
        name: str,
        slot: int | None,
        curve: Sequence[Mapping[str, float]],
        control: Sequence[Mapping[str, float]],
        errors: list[Any],
    ) -> None:
        """Add a chart with the calibration errors beneath it."""
        if curve:
            svg = charts.calibration(curve, control=control, slot=slot, key=f"calibration-{len(found)}", name=name)
            found.append({"name": name, "slot": slot, "svg": svg, "errors": errors})

    add("Teacher", None, curves.get("teacher", []), [], _error("", evaluation["teacher"]))
    for slot, (name, model) in enumerate(evaluation["students"].items()):
        control = evaluation.get("controls", {}).get(name, {})
        errors = _error("" if not control else "with teacher", model) + _error("control", control)
        add(name, slot, curves.get("students", {}).get(name, []), curves.get("controls", {}).get(name, []), errors)
    return found


def _error(title: str, model: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """A model's calibration error in words: whose, value, interval."""
    measure = BY_KEY["ece"]
    return [(title, measure.show(model["ece"]["value"]), measure.interval(model["ece"]))] if "ece" in model else []


def _learning(records: Records) -> list[dict[str, Any]]:
    """Loss and accuracy charts of each student that was trained in this run."""
    learning = []
    for slot, name in enumerate(records.students):
        soft, hard = records.student_curves.get(name, []), records.control_curves.get(name, [])
        pictures: list[tuple[str, Markup]] = []
        if soft:
            pictures.append(
                (
                    "Loss with the teacher",
                    charts.losses(soft, slot=slot, control=False, key=f"loss-soft-{slot}", name=name),
                )
            )
        if hard:
            title = f"{name} on labels alone"
            pictures.append(
                (
                    "Loss on labels alone",
                    charts.losses(hard, slot=slot, control=True, key=f"loss-hard-{slot}", name=title),
                )
            )
        if any("validation_accuracy" in row for row in [*soft, *hard]):
            picture = charts.validation_accuracy(soft, hard, slot=slot, key=f"learning-{slot}", name=name)
            pictures.append(("Validation accuracy, %", picture))
        if pictures:
            learning.append({"name": name, "slot": slot, "pictures": pictures})
    return learning
