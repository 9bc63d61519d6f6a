"""`tutelage import`: what a file of answers was taken for, row by row where it was not understood,
and the same answers in their normal form.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.cli.streams import write_json, write_result
from tutelage.errors import MOST_PROBLEMS, RecipeError, one_line

if TYPE_CHECKING:
    from tutelage.teachers.recorded.reading import Recorded

ROWS_SHOWN = 10
"""Rows of each sort of problem that are named."""


def import_answers(options: argparse.Namespace) -> int:
    """`tutelage import`: exit 2 if there is anything that was not understood."""
    from tutelage.cli.terminal import vars_of  # rich, which takes a while
    from tutelage.recipes.importing import import_answers as read
    from tutelage.teachers.recorded.reading import Understanding

    how = Understanding(
        text_field=options.text_field,
        form=options.form,
        columns=_pairs(options.columns),
        answer_field=options.answer_field,
        smoothing=options.smoothing,
        requests=options.requests,
        template=options.template,
        rows_shown=ROWS_SHOWN,
    )
    if how.columns is not None and how.form not in ("probabilities", "votes"):
        raise RecipeError(
            "--column needs to know what stands in it: add --form probabilities or --form votes"
        )
    if options.template is not None and "{text}" not in options.template:
        raise RecipeError("--template has no {text}; put {text} where the text stands")
    labels = None
    if options.labels is not None:
        labels = [label for one in options.labels.split(",") if (label := one.strip())]
    found = read(options.file, labels=labels, recipe=options.recipe, how=how, out=options.out)
    written = options.out if options.out is not None and found.is_whole else None
    if options.json:
        record = {
            "ok": found.is_whole,
            **({} if found.recorded is None else found.recorded.facts()),
            "problems": [vars_of(problem) for problem in found.problems],
            "out": None if written is None else str(written),
        }
        write_json(record)
        return 0 if found.is_whole else 2
    if found.recorded is not None:
        write_result("\n".join(map(one_line, described(found.recorded))))
    for problem in found.problems[:MOST_PROBLEMS]:
        write_result(f"{problem.severity}: {problem}")
    if (more := len(found.problems) - MOST_PROBLEMS) > 0:
        write_result(f"and {more:,} more")
    if found.errors:
        unwritten = "" if options.out is None else f", so {options.out} was not written"
        write_result(one_line(f"Not everything was understood{unwritten}."))
        return 2
    if written is not None:
        write_result(
            one_line(f"Wrote {written}. To learn from it: teacher: {{kind: recorded, file: ...}}")
        )
    return 0


def described(recorded: Recorded) -> list[str]:
    """What was understood of a file, as lines for a person."""
    facts = recorded.facts()
    columns = f", in {', '.join(recorded.columns)}" if recorded.columns else ""
    smoothing = "" if recorded.smoothing is None else f"; {recorded.smoothing:.3g} added to each"
    lines = [
        f"{recorded.source}: {recorded.form}{columns}"
        f"{' (in percent)' if recorded.percentages else ''}{smoothing}",
        f"  rows     {recorded.rows:,}: {recorded.unanswered:,} without an answer, "
        f"{recorded.repeated:,} about a text that was there before",
        f"  texts    {len(recorded.ids):,}: {recorded.contradicting:,} with answers that differ",
        f"  entropy  {facts['mean_entropy_nats']:.3f} nats on average, of at most "
        f"{math.log(len(recorded.labels)):.3f}",
        f"  {len(recorded.labels):,} labels, with their mean probability:",
    ]
    widest = min(40, max(map(len, recorded.labels)))
    lines += [f"    {label:<{widest}}  {mean:.3f}" for label, mean in facts["labels"].items()]
    return lines + [f"  {note}" for note in recorded.notes]


def add_words(parser: argparse.ArgumentParser) -> None:
    """The words after `tutelage import`."""
    parser.add_argument(
        "file", type=Path, help="csv, tsv, jsonl or parquet, or the folder of a target store"
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels", metavar="A,B,C", help="the labels, in their order [those of the file, sorted]"
    )
    labels.add_argument("--recipe", type=Path, help="the recipe whose labels are meant")
    parser.add_argument("--text-field", default="text", help="the column of the text [text]")
    parser.add_argument(
        "--form",
        choices=("auto", "probabilities", "votes", "labels", "log"),
        default="auto",
        help="what the file holds [found by the names of its columns]",
    )
    parser.add_argument(
        "--column",
        dest="columns",
        action="append",
        metavar="LABEL=COLUMN",
        help="the column of a label (may be repeated) [found by name]",
    )
    parser.add_argument(
        "--answer-field", help="the one column that holds a whole answer [found by name]"
    )
    parser.add_argument(
        "--smoothing",
        type=_smoothing,
        help="votes added to those for each label [0.5; 0.1 in all where a text has one label]",
    )
    parser.add_argument(
        "--requests", type=Path, help="of the output of a batch API, the file of its requests"
    )
    parser.add_argument(
        "--template",
        help="of a log of chats, what stands around the text in a message, with {text} for it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where the answers go as text and p_LABEL (csv, tsv, jsonl or parquet)",
    )


def _smoothing(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(
            f"{one_line(repr(word), most=60)} is no number from 0 to 1000"
        )
    return value


def _pairs(given: list[str] | None) -> dict[str, str] | None:
    if given is None:
        return None
    for one in given:
        if "=" not in one:
            raise RecipeError(f"--column {one} has no =; expected LABEL=COLUMN")
    return {label: column for label, _, column in (one.partition("=") for one in given)}
