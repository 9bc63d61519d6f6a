"""From a run folder to `report.html`: read, compute what is said and drawn, render, write."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tutelage import runs
from tutelage.report import formats
from tutelage.report.calibration import calibrations
from tutelage.report.comparisons import compared_measures, opponents
from tutelage.report.origins import provenance_section, student_descriptions
from tutelage.report.plots import plots
from tutelage.report.reading import Records, read_run
from tutelage.report.tables import score_lines
from tutelage.report.words import TaskWords, Tested

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: Path, words: TaskWords[Any], *, out: Path | None = None) -> Path:
    """Write the report of a finished run as one HTML page that fetches nothing.

    The page is a function of the run's files: the same files give the same bytes.

    Args:
        run: The run folder; recipe, evaluation and predictions must be there, training logs and
            provenance may be missing.
        words: What the task of the run says.
        out: The file to write; None writes `report.html` into the run folder.

    Returns:
        The file written.

    Raises:
        RunIncomplete: The run has not been evaluated.
        DataError: A file of the run cannot be read or does not match the others.
    """
    path = runs.RunFolder(run).report_path if out is None else out
    runs.atomic_write_text(path, render(read_run(run, words), words))
    return path


def render(records: Records[Tested], words: TaskWords[Tested]) -> str:
    """The page as text.

    Args:
        records: What the run left behind.
        words: What its task says.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([words.layout.templates, _TEMPLATES]),
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
    context = _shared_context(records, words) | words.context(records)
    return environment.get_template("page.html").render(context)


def _shared_context(records: Records[Tested], words: TaskWords[Tested]) -> dict[str, Any]:
    """Everything that the templates of the report place, in the order of the page."""
    evaluation, measures = records.evaluation, words.measures
    quality, cost = measures.measured(evaluation)
    phrases = words.phrases(evaluation)
    axis = words.quality_axis(evaluation)
    return {
        "sheets": ["page.css", *words.layout.sheets],
        "parts": words.layout.parts,
        "phrases": phrases,
        "name": records.name,
        "students": records.students,
        "controls": list(evaluation.get("controls", {})),
        "verdict": words.verdict(records),
        "student_descriptions": student_descriptions(records),
        "quality": quality,
        "cost": cost,
        "lines": score_lines(evaluation, words),
        "better": "Up" if axis.measure.higher_is_better else "Down",
        "plots": plots(evaluation, axis, words.cost_axes),
        "calibrations": calibrations(evaluation, measures, unit=phrases.counted),
        "learning": words.learning(records),
        "comparisons": [
            (slot, name, opponents(evaluation, name, measures, names=words.names))
            for slot, name in enumerate(records.students)
        ],
        "compared_measures": partial(compared_measures, measures=measures),
        "measures": [*quality, *cost],
        "terms": words.terms,
        **provenance_section(records),
    }
