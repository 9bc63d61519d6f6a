"""The commands that look after runs: `runs` lists them, `clean` makes room."""

from __future__ import annotations

import argparse
import io
from typing import TYPE_CHECKING, Any

from tutelage.cli.streams import write_json, write_result
from tutelage.cli.terminal import counted
from tutelage.errors import one_line

if TYPE_CHECKING:
    from tutelage.recipes.listing import Quantity, RunSummary


def runs(options: argparse.Namespace) -> int:
    """`tutelage runs`: every run of a folder on a line, and what is wrong with damaged ones."""
    from tutelage.recipes.listing import list_runs

    found = list_runs(options.root)
    if options.json:
        record = {
            "root": str(found.root),
            "runs": [_record(run) for run in found.runs],
            "other_folders": found.others,
        }
        write_json(record)
        return 0
    if found.runs:
        write_result(runs_table(found.runs))
    else:
        write_result(f"No runs in {found.root}. Make one: tutelage run recipe.yaml")
    for run in found.runs:
        for problem in run.problems:
            write_result(one_line(f"{run.path.name}: {problem}"))
        if run.problems:
            write_result(
                one_line(f"{run.path.name}: to make again what is damaged: tutelage run {run.path}")
            )
    if found.others and not options.quiet:
        names = ", ".join(found.others)
        write_result(one_line(f"No runs, so not listed: {names}"))
    return 0


def runs_table(summaries: list[RunSummary]) -> str:
    """Runs as a table for the terminal, as wide as it needs to be."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tutelage.report.formats import plain_bytes

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("run", "state", "task", "teacher", "student"):
        table.add_column(title, no_wrap=True)
    for title in ("quality", "its teacher's", "cost", "faster", "age", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    for run in summaries:
        chosen = " (preferred)" if run.preferred else ""
        cells = [
            run.path.resolve().name,
            run.state,
            run.task or "",
            run.teacher or "",
            f"{run.student}{chosen}" if run.student else "",
            *_quality_cells(run.quality),
            *_cost_cells(run.cost),
            age_words(run.age_seconds),
            plain_bytes(run.size_bytes),
        ]
        # As they are: what stands in brackets in a name is no markup.
        table.add_row(*(Text(one_line(cell, most=60)) for cell in cells))
    buffer = io.StringIO()
    Console(file=buffer, width=10_000, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().split("\n"))


def age_words(seconds: float) -> str:
    """How long ago, in the largest unit that fits: `40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clean(options: argparse.Namespace) -> int:
    """`tutelage clean`: what a finished run no longer needs; removed with --yes."""
    from tutelage.recipes.cleaning import clean_run
    from tutelage.report.formats import plain_bytes

    found = clean_run(options.folder, really=options.yes)
    if options.json:
        items = [
            {"path": one.path, "bytes": one.size_bytes, "what": one.what} for one in found.leftovers
        ]
        record = {
            "run": str(found.run),
            "removed": found.removed,
            "bytes": found.size_bytes,
            "items": items,
        }
        write_json(record)
        return 0
    widest = max((len(one.path) for one in found.leftovers), default=0)
    for one in found.leftovers:
        size = f"{plain_bytes(one.size_bytes):>9}"
        write_result(one_line(f"{one.path:<{widest}}  {size}  {one.what}"))
    total = f"{counted(len(found.leftovers), 'things')}, {plain_bytes(found.size_bytes)}"
    if not found.leftovers:
        write_result(f"{found.run} holds nothing that it does not need.")
    elif found.removed:
        write_result(f"Removed: {total}.")
    else:
        write_result(f"Not needed any more: {total}. To remove it: add --yes")
    return 0


def _quality_cells(quality: Quantity | None) -> list[str]:
    if quality is None or quality.measure.column is None:
        return ["", ""]
    column = quality.measure.column
    title = column.title.partition(" [")[0]
    theirs = "" if quality.teacher is None else column.show(quality.teacher)
    return [f"{title} {column.show(quality.student)}", theirs]


def _cost_cells(cost: Quantity | None) -> list[str]:
    if cost is None or cost.measure.column is None:
        return ["", ""]
    column = cost.measure.column
    ratio = "" if cost.ratio is None or column.faster is None else column.faster(cost.ratio)
    return [f"{column.show(cost.student)} {column.title}", ratio]


def _record(run: RunSummary) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "state": run.state,
        "problems": list(run.problems),
        "stages": list(run.stages),
        "task": run.task,
        "teacher": run.teacher,
        "student": run.student,
        "preferred": run.preferred,
        "quality": _quantity(run.quality),
        "cost": _quantity(run.cost),
        "age_seconds": round(run.age_seconds, 1),
        "bytes": run.size_bytes,
    }


def _quantity(one: Quantity | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "measure": one.measure.key,
        "student": one.student,
        "teacher": one.teacher,
        "times_better": one.ratio,
    }
