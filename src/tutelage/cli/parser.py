"""The words of the command line: which there are, and what each is given.

Only the standard library is imported. Words after `--` are never options.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tutelage.cli.certifying import add_words as add_certify_words
from tutelage.cli.exporting import add_words as add_export_words
from tutelage.cli.importing import add_words as add_import_words
from tutelage.cli.labelling import add_options as label_options
from tutelage.cli.repairing import add_dry_run
from tutelage.cli.repairing import add_words as add_repair_words
from tutelage.cli.retraining import add_words as add_retrain_words
from tutelage.errors import one_line
from tutelage.recipes.demo import DEMOS
from tutelage.tasks import KINDS

MOST_TEXTS = 1_000_000
"""At a time."""
EXPLAINED_BY = ("exact", "gradients", "occlusion")
"""Methods of `explain`."""
OF_THE_RUNTIME = {
    "serve": "serve exported students over HTTP, in the protocols of decision APIs",
    "release": "put versions of a student in service, and roll back",
}
"""Commands whose words the runtime reads, which is also installed alone."""
MOST_SEED = 2**64 - 1
MOST_SENTENCES, MOST_REVIEWS = 12_000, 110
"""That the demos have."""
MOST_SAMPLES = 10_000
"""Positions of a store that are shown."""


DESCRIPTION = """\
Distil a large language model (the teacher) into a small model (the student) that does the same job.

The teacher writes soft targets, a probability for every class or every next token; students learn
to reproduce them by minimising a Kullback-Leibler divergence; a report says how much of the teacher
survived and what it costs.
"""


EPILOG = """\
first steps:
  tutelage demo --fast              the whole flow on real reviews, in a minute or two
  tutelage init recipe.yaml         write a commented recipe, then edit its data and labels
  tutelage check recipe.yaml        the problems of file and data, or an estimate of time and disk
  tutelage run recipe.yaml          do everything; run it again to go on where it stopped
  tutelage predict runs/NAME "I love it"
  tutelage verify runs/NAME         is every file still what it was?
  tutelage export runs/NAME --format onnx_int8
                                    the student without torch, in a quarter of its bytes

`run` is made of stages that are also commands: label, train, evaluate, report. Each does what must
come before it.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; a test pins its words."""
    parser = argparse.ArgumentParser(
        prog="tutelage",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    init = _command(commands, "init", "write a commented recipe to start from")
    init.add_argument(
        "recipe", nargs="?", default="recipe.yaml", type=Path, help="file to write [recipe.yaml]"
    )
    init.add_argument(
        "--task",
        choices=tuple(KINDS),
        default="classification",
        help="what for [classification]",
    )

    check = _command(
        commands, "check", "validate recipe and data without training; estimate time and disk"
    )
    _recipe(check)

    for word, summary in (
        ("label", "write the soft targets of a recipe's teacher, or soft labels into a table"),
        ("train", "label if needed, then train every student (and control)"),
        ("evaluate", "train if needed, then measure quality and cost on the test rows"),
        ("report", "evaluate if needed, then write report.html"),
        ("run", "do everything, and nothing twice"),
    ):
        stage = _command(commands, word, summary)
        if word == "label":
            _recipe(stage, besides=", or a table of texts")
            label_options(stage)
        else:
            _recipe(stage)
        table = "; of texts the table [FILE.labelled.csv]" * (word == "label")
        stage.add_argument(
            "--out", type=Path, help=f"run folder [runs/NAME beside where you stand]{table}"
        )

    predict = _command(
        commands, "predict", "answer with a student: label and probabilities, or how a text goes on"
    )
    predict.add_argument("folder", type=Path, help="a student folder, or a run folder")
    predict.add_argument(
        "text",
        nargs="*",
        help="texts to classify, or to go on with; those that begin with a dash come after --",
    )
    predict.add_argument("--file", type=Path, help="csv, tsv, jsonl or parquet with a text column")
    predict.add_argument(
        "--out", type=Path, help="where --file's answers go (csv, tsv, jsonl or parquet)"
    )
    predict.add_argument(
        "--student",
        help="which student of a run folder [the one that evaluate.prefer chose, else the most "
        "accurate one, or the one with the fewest nats per token]",
    )
    predict.add_argument("--text-field", help="text column of --file [the one of the run's data]")
    predict.add_argument(
        "--batch-size",
        type=whole_number(1, MOST_TEXTS),
        default=64,
        help="texts at a time, of a classifier [64]",
    )
    predict.add_argument(
        "--spreadsheet-safe",
        action="store_true",
        help="write ' before cells of a csv or tsv that a spreadsheet would take for a formula "
        "(=, +, -, @, tab or line end first)",
    )

    explain = _command(
        commands,
        "explain",
        "tell how far each word moved an answer of a student, or of the teacher",
    )
    explain.add_argument("folder", type=Path, help="a student folder, or a run folder")
    explain.add_argument("text", nargs="*", help="texts to classify and explain")
    explain.add_argument("--file", type=Path, help="csv, tsv, jsonl or parquet with a text column")
    explain.add_argument(
        "--out", type=Path, help="where --file's explanations go (jsonl or parquet)"
    )
    explain.add_argument(
        "--student",
        help="which student of a run folder [the one that predict takes]",
    )
    explain.add_argument("--teacher", action="store_true", help="explain the run's teacher instead")
    explain.add_argument(
        "--method",
        choices=EXPLAINED_BY,
        help="exact: the sum that a linear student is; gradients: integrated, of a network (needs "
        "captum); occlusion: each word left out, of anybody [the first that there is]",
    )
    explain.add_argument(
        "--faithfulness",
        type=whole_number(1, MOST_TEXTS),
        metavar="N",
        help="instead, measure on N test rows of the run whether explanations name the words that "
        "answers hang on",
    )
    explain.add_argument("--text-field", help="text column of --file [the one of the run's data]")
    explain.add_argument(
        "--top",
        type=whole_number(1, MOST_TEXTS),
        default=20,
        help="words to show; with --json all are told [20]",
    )

    add_certify_words(
        _command(
            commands,
            "certify",
            "find how much a student may answer alone, with a guarantee; exit 1 if nothing",
        )
    )

    add_export_words(
        _command(
            commands,
            "export",
            "write a student in another format, which counts only if it answers as the student "
            "does",
        )
    )

    verify = _command(
        commands,
        "verify",
        "check every file of a run against its checksum; exit 1 and name what is damaged",
    )
    verify.add_argument("folder", type=Path, help="a run folder")

    add_repair_words(
        _command(
            commands,
            "repair",
            "put back or do again what verify finds damaged in a run, and nothing else",
        )
    )

    runs = _command(
        commands, "runs", "list runs: task, teacher, best student, quality, cost, age, size, state"
    )
    runs.add_argument(
        "root",
        nargs="?",
        default="runs",
        type=Path,
        help="folder in which runs lie, or one run [runs]",
    )

    compare = _command(
        commands,
        "compare",
        "students of several runs side by side on the test rows that they share, with paired "
        "intervals",
    )
    compare.add_argument("folders", nargs="+", type=Path, help="two run folders or more")
    compare.add_argument(
        "--out", type=Path, metavar="PAGE.html", help="also write it as one HTML page"
    )

    clean = _command(
        commands, "clean", "say what a finished run no longer needs, and with --yes remove it"
    )
    clean.add_argument("folder", type=Path, help="a run folder")
    clean.add_argument("--yes", action="store_true", help="remove it")

    add_import_words(
        _command(
            commands, "import", "say what was understood of a file of answers that somebody has"
        )
    )

    for word, purpose in OF_THE_RUNTIME.items():
        _command(commands, word, purpose).add_argument(
            "words",
            nargs=argparse.REMAINDER,
            metavar="...",
            help=f"folders and options: tutelage {word} --help",
        )

    add_retrain_words(
        _command(
            commands,
            "retrain",
            "the next student from recorded traffic, certified and held against the current one; "
            "exit 1 if it is not better",
        )
    )

    _targets(
        _command(
            commands, "targets", "look into a store of soft targets, verify, merge or export it"
        )
    )

    demo = _command(
        commands, "demo", "the main job on real reviews: fetch, label, train, evaluate, report"
    )
    demo.add_argument(
        "--task",
        choices=tuple(DEMOS),
        default="classification",
        help="which demo [classification]",
    )
    demo.add_argument(
        "--fast",
        action="store_true",
        help="classification in a minute or two, with less of everything",
    )
    demo.add_argument(
        "--out",
        type=Path,
        help="folder for the demo's data, recipe and run [tutelage-demo, -fast or -lm]",
    )
    demo.add_argument(
        "--seed",
        type=whole_number(0, MOST_SEED),
        default=0,
        help="seed of the students' training [0]",
    )
    demo.add_argument(
        "--sentences",
        type=whole_number(1, MOST_SENTENCES),
        help="unlabeled sentences for classification [as many as end in ten minutes on this "
        "machine; at most 12000]",
    )
    demo.add_argument(
        "--reviews",
        type=whole_number(1, MOST_REVIEWS),
        help="reviews for causal_lm to train on [as many as end in 15 minutes on this machine; at "
        "most 110]",
    )
    return parser


def _command(
    commands: argparse._SubParsersAction, word: str, summary: str
) -> argparse.ArgumentParser:  # pyright: ignore[reportPrivateUsage]
    parser = commands.add_parser(
        word, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress and no talk on stderr")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def _targets(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    inspect = _command(
        actions, "inspect", "what is in it: kind, rows, bytes, entropy, teacher, samples"
    )
    verify = _command(actions, "verify", "check every checksum; exit 1 and name each broken part")
    merge = _command(
        actions,
        "merge",
        "put stores of one teacher, tokenizer, encoding and seed into one, each row once",
    )
    export = _command(actions, "export", "write the targets as JSON Lines, one object a row")
    repair = _command(
        actions,
        "repair",
        "put broken parts aside, so that the next labelling writes their rows again",
    )
    add_dry_run(repair)
    for action in (inspect, verify, export, repair):
        action.add_argument("store", type=Path, help="a store, or a run folder that holds one")
    inspect.add_argument(
        "--samples",
        type=whole_number(0, MOST_SAMPLES),
        help="positions to show [3 where the tokenizer is known]",
    )
    inspect.add_argument(
        "--tokenizer", help="the teacher, whose tokenizer spells the ids [that of the run]"
    )
    merge.add_argument("stores", type=Path, nargs="+", help="stores, or run folders that hold one")
    merge.add_argument("--out", type=Path, required=True, help="folder of the merged store")
    export.add_argument(
        "--format", choices=["jsonl"], default="jsonl", help="what to write [jsonl]"
    )
    export.add_argument("--out", type=Path, help="the file [stdout]")


def _recipe(parser: argparse.ArgumentParser, *, besides: str = "") -> None:
    parser.add_argument(
        "recipe", type=Path, help=f"a recipe file, or a run folder to go on with{besides}"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the recipe, e.g. --set train.epochs=3 (may be repeated)",
    )


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """What argparse asks for a number: the range, and words for what is none."""

    def read(word: str) -> int:
        # Digits of other scripts, underscores and spaces are numbers to `int`, but not to people.
        if re.fullmatch(r"[+-]?[0-9]{1,30}", word) and least <= int(word) <= most:
            return int(word)
        raise argparse.ArgumentTypeError(
            f"{one_line(repr(word), most=60)} is no whole number from {least:,} to {most:,}"
        )

    return read


_ASKED = ("predict", "explain")
"""Commands whose last words are texts."""


_AFTER_DASHES = "\ue000"
"""Marks a word that stands after `--` and begins with a dash, which argparse, that looks at words
twice, would take for an option."""


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The words as options; texts of `predict` and `explain` may also come after an option, which
    argparse alone refuses, and whatever comes after `--` is no option.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in OF_THE_RUNTIME:
        common = {"version": False, "json": False, "quiet": False, "traceback": False}
        return argparse.Namespace(command=words[0], words=words[1:], **common)
    if "--" in words:
        place = words.index("--")
        after = [f"{_AFTER_DASHES}{one}" if one[:1] == "-" else one for one in words[place + 1 :]]
        words = [*words[:place], *after]
    options, left = parser.parse_known_args(words)
    if options.command in _ASKED:
        options.text += [word for word in left if not _is_option(word)]
        left = [word for word in left if _is_option(word)]
    for name, value in vars(options).items():
        setattr(options, name, _unmarked(value))
    if left:
        advice = "; texts that begin with a dash come after --" * (options.command in _ASKED)
        shown = " ".join(one_line(_unmarked(word), most=60) for word in left[:10])
        parser.error(f"unrecognized arguments: {shown}{advice}")
    return options


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(one) for one in value]
    if isinstance(value, (str, Path)) and str(value).startswith(_AFTER_DASHES):
        return type(value)(str(value)[1:])
    return value
