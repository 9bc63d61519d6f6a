"""The result of a run as a table for the terminal: teacher, students, controls, baselines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tutelage.report.comparisons import cost_ratio
from tutelage.report.formats import NO_BREAK, THIN
from tutelage.report.measures import Column, Evaluation, Measure
from tutelage.report.preference import preference_sentence
from tutelage.report.tables import list_models
from tutelage.report.words import TaskWords

_UNLIMITED = 10_000
"""More columns than any table has: no number is ever cut, narrower terminals wrap the lines."""


def results_table(evaluation: Evaluation, words: TaskWords[Any], *, width: int = _UNLIMITED) -> str:
    """The table at the end of a run.

    Args:
        evaluation: The content of evaluation.json.
        words: What the task says; its measures that have a `column` are shown.
        width: Columns that the table takes at most.

    Returns:
        Text without colour, with a line beneath that says how to read it.
    """
    models = list_models(evaluation, words.names)
    known = {key for model in models for key in model.numbers}
    shown = [
        (measure, measure.column)
        for measure in (*words.measures.quality, *words.measures.cost)
        if measure.column is not None
        and (measure.key in known or not measure.column.only_where_known)
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("model", no_wrap=True)
    for _, column in shown:
        table.add_column(column.title, justify="right", no_wrap=True)
        if column.faster is not None:
            table.add_column("faster", justify="right", no_wrap=True)
    for model in models:
        name = f"  {model.name.short}" if model.role == "control" else model.name.short
        table.add_row(name, *_cells(evaluation, model.numbers, shown))
    buffer = io.StringIO()
    Console(file=buffer, width=width, highlight=False).print(table)
    lines = [words.legend(evaluation), preference_sentence(evaluation, words.measures)]
    beneath = "\n".join(filter(None, lines)).replace(THIN, " ").replace(NO_BREAK, " ")
    return f"\n{buffer.getvalue().rstrip()}\n\n{beneath}\n"


def _cells(
    evaluation: Evaluation, model: Mapping[str, Any], shown: Sequence[tuple[Measure, Column]]
) -> list[str]:
    """One model's numbers; empty where it has none."""
    cells = []
    for measure, column in shown:
        number = model.get(measure.key)
        text = column.show(number["value"]) if number else ""
        if number and column.interval:
            text += f" [{column.show(number['low'])}, {column.show(number['high'])}]"
        cells.append(text)
        if column.faster is not None:
            ratio = cost_ratio(evaluation, model, measure)
            cells.append("" if ratio is None else column.faster(ratio))
    return cells
