"""The commands that look after runs: `runs` lists them, `compare` lays their students side by side,
`clean` makes room.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tutelage.cli.streams import write_json, write_result
from tutelage.cli.terminal import counted
from tutelage.errors import RecipeError, one_line

if TYPE_CHECKING:
    from tutelage.recipes.listing import Quantity, RunSummary
    from tutelage.report.measures import Measure


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
    if any(run.problems for run in found.runs):
        write_result("To look closer: tutelage verify RUN. To make it again: tutelage run RUN")
    if found.others and not options.quiet:
        names = ", ".join(found.others)
        write_result(one_line(f"No runs, so not listed: {names}"))
    return 0


def runs_table(summaries: list[RunSummary]) -> str:
    """Runs as a table for the terminal, as wide as it needs to be."""
    from tutelage.report.formats import plain_bytes

    rows = []
    for run in summaries:
        chosen = " (preferred)" if run.preferred else ""
        rows.append(
            [
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
        )
    names = ["run", "state", "task", "teacher", "student"]
    numbers = ["quality", "its teacher's", "cost", "faster", "age", "size"]
    return _table([*names, *numbers], rows, left=len(names))


def age_words(seconds: float) -> str:
    """How long ago, in the largest unit that fits: `40 s`, `12 min`, `5 h`, `3 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def compare(options: argparse.Namespace) -> int:
    """`tutelage compare`: every student of several runs beside one of the first."""
    from tutelage.recipes.comparing import compare_runs
    from tutelage.report.comparisons import settled
    from tutelage.report.formats import plural
    from tutelage.report.side_by_side import title_of, write_side_by_side

    if options.out is not None and options.out.suffix.lower() not in (".html", ".htm"):
        raise RecipeError(
            f"--out is {options.out}: the comparison is written as a page, so give a name that "
            "ends in .html"
        )
    found = compare_runs(options.folders)
    if options.out is not None:
        write_side_by_side(found, options.out)
    if options.json:
        models = [
            {
                "run": one.run,
                "model": one.name,
                "role": one.role,
                **{key: dict(value) for key, value in one.values.items()},
                "difference": {key: dict(value) for key, value in one.differences.items()},
            }
            for one in found.contestants
        ]
        write_json(
            {
                "task": found.task,
                "rows": found.rows,
                "rows_of": dict(found.rows_of),
                "reference": {"run": found.reference[0], "student": found.reference[1]},
                "models": models,
            }
        )
        return 0
    rows = []
    for one in found.contestants:
        cells = [title_of(one)]
        for measure in found.measures:
            cells.append(_bracketed(one.values[measure.key], measure))
            if not one.differences:
                cells += ["", "others minus this"]
                continue
            difference = one.differences[measure.key]
            word = settled(difference, higher_is_better=measure.higher_is_better)
            cells += [_bracketed(difference, measure, sign="+"), word]
        rows.append(cells)
    titles = [
        title
        for measure in found.measures
        for title in (f"{measure.title.lower()} [95 %]", "difference [95 %]", "")
    ]
    write_result(_table(["model", *titles], rows, left=1))
    those = ", ".join(f"{name} {number:,}" for name, number in found.rows_of.items())
    write_result(
        f"\nOn the {plural(found.rows, 'test row')} that all runs share (of {those}). Intervals "
        "cover the choice of rows, not the luck of one training run."
    )
    if options.out is not None:
        write_result(one_line(f"The same as a page: {options.out}"))
    return 0


def _bracketed(interval: Mapping[str, float], measure: Measure, *, sign: str = "") -> str:
    """A number with the ends of its interval, in the measure's own unit."""
    digits = measure.digits or 3
    value, low, high = (
        f"{interval[end] * measure.scale:{sign}.{digits}f}" for end in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Rows of text as a table for the terminal, as wide as it needs to be; the first columns stand
    to the left, all others to the right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, title in enumerate(titles):
        table.add_column(title, justify="left" if position < left else "right", no_wrap=True)
    for row in rows:
        # As they are: what stands in brackets in a name is no markup.
        table.add_row(*(Text(one_line(cell, most=80)) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=10_000, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().split("\n"))


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
