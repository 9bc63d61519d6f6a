"""`tutelage certify RUN`: how much a student may answer alone; its options, and what it shows."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from tutelage.cli.streams import write_json, write_result
from tutelage.errors import one_line


def add_words(parser: argparse.ArgumentParser) -> None:
    """What `certify` is given."""
    parser.add_argument("folder", type=Path, help="a run folder")
    parser.add_argument(
        "--disagreement",
        type=share,
        required=True,
        metavar="SHARE",
        help="the largest share of disagreements, such as 0.02",
    )
    parser.add_argument(
        "--confidence",
        type=share,
        default=0.95,
        metavar="SHARE",
        help="with what probability the promise is kept [0.95]",
    )
    parser.add_argument(
        "--over",
        choices=("all", "answered"),
        default="all",
        help="the share is of all requests, or of those that the student answers alone [all]",
    )
    parser.add_argument(
        "--against",
        choices=("teacher", "labels"),
        default="teacher",
        help="with whom the student is to agree [teacher]",
    )
    parser.add_argument(
        "--student", help="which student [the one that answers most on validation rows]"
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="an exported student of this run: certified as it will answer, with a gate for texts "
        "unlike the training rows [the student as it was trained]",
    )
    parser.add_argument(
        "--per-class", action="store_true", help="a threshold and a promise for every class"
    )
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="a table with the teacher's answers (tutelage label FILE), or with --against labels "
        "the right ones, in the label column [the run's test rows, which are spent then]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the certificate goes [RUN/certificates/STUDENT]",
    )
    parser.add_argument(
        "--price-per-million",
        type=price,
        metavar="MONEY",
        help="what a million requests to the teacher cost, to be told what is saved",
    )


def share(word: str) -> float:
    """A number between 0 and 1, both excluded."""
    if re.fullmatch(r"[0-9]*\.?[0-9]{1,30}", word) and 0 < float(word) < 1:
        return float(word)
    raise argparse.ArgumentTypeError(
        f"{one_line(repr(word), most=60)} is no share above 0 and below 1, such as 0.02"
    )


def price(word: str) -> float:
    """An amount of money."""
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", word):
        return float(word)
    raise argparse.ArgumentTypeError(
        f"{one_line(repr(word), most=60)} is no amount of money, such as 400 or 0.5"
    )


def certify(options: argparse.Namespace) -> int:
    """`tutelage certify`: write a certificate; exit 1 where no share can be certified."""
    from tutelage.cli.terminal import progress_for
    from tutelage.recipes.certifying import certify_run

    progress = progress_for(quiet=options.quiet or options.json)
    if options.rows is None:
        progress_for(quiet=options.quiet).say(
            "The test rows certify, so they are spent: nothing else may be chosen by them, and the "
            "next certificate needs other rows (--rows FILE)"
        )
    values = certify_run(
        options.folder,
        disagreement=options.disagreement,
        confidence=options.confidence,
        over=options.over,
        against=options.against,
        student=options.student,
        export=options.export,
        per_class=options.per_class,
        rows=options.rows,
        out=options.out,
        price_per_million=options.price_per_million,
        progress=progress,
    )
    if options.json:
        write_json(values)
    else:
        for line in certificate_lines(values):
            write_result(line)
    return 0 if values["file"] is not None else 1


def certificate_lines(values: dict[str, Any]) -> list[str]:
    """A certificate for a terminal."""
    of = "all requests" if values["over"] == "all" else "the requests that it answers"
    whom = "the teacher" if values["against"] == "teacher" else "the labels"
    promise = (
        f"it disagrees with {whom} on at most {100 * values['disagreement']:.3g} % of {of}, with "
        f"{100 * values['confidence']:.3g} % confidence"
    )
    rows = f"{values['rows']:,} rows ({values['rows_from']})"
    if values["file"] is None:
        return [
            f"{values['name']} may answer nothing alone: on {rows} no threshold shows that "
            f"{promise}. More rows, a larger --disagreement or a better student would"
        ]
    coverage = f"{100 * values['coverage']:.1f} %"
    lines = [
        f"{values['name']} may answer {coverage} of requests alone: {promise}",
        f"Of {rows} it would answer {round(values['coverage'] * values['rows']):,} and disagree on "
        f"{values['disagreed']:,}",
    ]
    closed = [name for name, limit in values["thresholds"].items() if limit is None]
    if closed:
        lines.append(f"Always forwarded, for want of rows: {', '.join(closed)}")
    if (gate := values["novelty"]) is not None:
        lines.append(f"Called new and forwarded: {100 * gate['false_alarms']:.2f} % of these rows")
    if "saved_per_million" in values:
        lines.append(
            f"Saved per million requests: {values['saved_per_million']:,.2f} of "
            f"{values['price_per_million']:,.2f}, after an audit of "
            f"{100 * values['audit']['share']:.3g} %"
        )
    return [*lines, f"Certificate: {values['file']}"]
