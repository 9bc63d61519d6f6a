"""A task that the report has never heard of brings its words and gets a page and a table."""

import dataclasses
import json
import subprocess
import sys

import pytest
from tests.report.pages import Page, checked_identifiers

from tutelage.cli.tables import results_table
from tutelage.errors import DataError
from tutelage.report import formats, write_report
from tutelage.report.measures import Column, Measure, Measures, distance
from tutelage.report.plots import CostAxis, QualityAxis
from tutelage.report.tradeoff import AxisStyle
from tutelage.report.verdict import LargeNumber, StudentVerdict, Verdict
from tutelage.report.words import Layout, Name, Names, Phrases

MEASURES = Measures(
    quality=(
        distance(
            "edits", "Edits per line", "Fewer.", column=Column("edits", formats.plain(2), True)
        ),
    ),
    cost=(
        Measure(
            key="seconds",
            title="Seconds",
            reading="Time for one line.",
            show=formats.duration,
            column=Column("s", formats.plain(1), faster=formats.plain_times),
        ),
    ),
)
NAMES = Names(Name("without the teacher", "alone"), {"dictionary": Name("a book", "book")})
COST_AXES = (CostAxis("seconds", "Time", "seconds", "s"),)


@dataclasses.dataclass(frozen=True)
class Spelling:
    """What a made-up task says."""

    layout: Layout
    task: str = "spelling"
    needed: tuple[str, ...] = ("lines",)
    measures: Measures = MEASURES
    names: Names = NAMES
    terms: tuple[tuple[str, str], ...] = (("Line", "What is spelled."),)
    cost_axes: tuple[CostAxis, ...] = COST_AXES

    def read_tested(self, path, evaluation):
        return json.loads(path.read_text())

    def quality_axis(self, evaluation):
        style = AxisStyle(1.0, 0.5, "{:.1f}".format, "{:.2f} edits".format)
        book = evaluation["baselines"]["dictionary"]["edits"]["value"]
        return QualityAxis(MEASURES["edits"], "edits", style=style, levels={"a book": book})

    def phrases(self, evaluation):
        lines = formats.plural(evaluation["lines"], "test line")
        return Phrases(
            unit="line",
            tested=lines,
            judged_on=lines,
            best="the best speller",
            note="",
            alone="words alone",
            price="Cost of a line",
            plot="",
            predicted="letters",
            counted="letters",
            answers="letters",
            learning="",
        )

    def verdict(self, records):
        return Verdict(
            headline=f"“{records.students[0]}” spells",
            deck=[],
            numbers=[LargeNumber("1", "line")],
            students=[StudentVerdict(name, ["Spells."]) for name in records.students],
            cautions=[],
        )

    def learning(self, records):
        return []

    def context(self, records):
        return {"spelled": records.predictions, "data_files": [], "data_columns": []}

    def legend(self, evaluation):
        return f"{evaluation['lines']} lines."


def number(value):
    return {"value": value, "low": 0.9 * value, "high": 1.1 * value}


@pytest.fixture
def words(tmp_path):
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "nav.html").write_text('<a href="#lines">Lines</a>')
    (templates / "lines.html").write_text(
        '<section id="lines" class="own">{% for line in spelled %}<p>{{ line }}</p>{% endfor %}'
        "</section>"
    )
    (templates / "own.css").write_text(".own { color: var(--ink); }")
    parts = ("verdict.html", "lines.html", "numbers.html", "comparisons.html", "provenance.html")
    return Spelling(Layout(templates, parts, sheets=("own.css",)))


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("task: {kind: spelling}\n")
    evaluation = {
        "task": "spelling",
        "lines": 2,
        "teacher": {"edits": number(0.5), "seconds": number(40.0)},
        "students": {"small": {"edits": number(1.0), "seconds": number(8.0)}},
        "controls": {"small": {"edits": number(1.5)}},
        "baselines": {"dictionary": {"edits": number(1.2)}},
        "comparisons": [
            {
                "student": "small",
                "against": "control",
                "metric": "edits",
                "difference": {"value": -0.5, "low": -0.7, "high": -0.2},
            }
        ],
    }
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    (run / "predictions.parquet").write_text('["<b>one</b>", "two"]')
    return run


def test_a_page_of_another_task_needs_nothing_but_its_words(run, words):
    text = write_report(run, words).read_text(encoding="utf-8")
    assert checked_identifiers(text) >= {"verdict", "lines", "numbers", "cost", "reading"}
    said = "".join(Page(text).words)
    for shown in (
        "“small” spells",
        "<b>one</b>",
        "Down is better",
        "a book",
        "without the teacher",
    ):
        assert shown in said
    assert ".own { color: var(--ink); }" in text
    assert "−0.500" in said
    assert "5.0× faster" in said


def test_a_table_of_another_task_needs_nothing_but_its_words(run, words):
    evaluation = json.loads((run / "evaluation.json").read_text())
    lines = [line.split() for line in results_table(evaluation, words).splitlines() if line]
    assert lines[0] == ["model", "edits", "s", "faster"]
    assert lines[2:] == [
        ["teacher", "0.50", "[0.45,", "0.55]", "40.0", "1x"],
        ["small", "1.00", "[0.90,", "1.10]", "8.0", "5.0x"],
        ["alone", "1.50", "[1.35,", "1.65]"],
        ["book", "1.20", "[1.08,", "1.32]"],
        ["2", "lines."],
    ]


def test_an_evaluation_of_another_task_is_refused(run, words):
    other = dataclasses.replace(words, task="translation")
    with pytest.raises(DataError, match="speaks of the task 'spelling'; expected translation"):
        write_report(run, other)


@pytest.mark.parametrize(
    "module",
    ["report", "tasks.classification.report", "tasks.language.report"],
)
def test_importing_loads_neither_torch_nor_what_draws(module):
    code = (
        f"import sys, tutelage.{module}\n"
        "print(sorted({'torch', 'transformers', 'matplotlib', 'jinja2'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
