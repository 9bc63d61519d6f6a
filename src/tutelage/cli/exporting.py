"""`tutelage export RUN`: a student in another format; its options, and what it shows."""

from __future__ import annotations

import argparse
from pathlib import Path

from tutelage.cli.streams import write_json, write_result
from tutelage.export import FORMATS, needs_work


def add_words(parser: argparse.ArgumentParser) -> None:
    """What `export` is given."""
    parser.add_argument("folder", type=Path, help="a student folder, or a run folder")
    parser.add_argument(
        "--format",
        required=True,
        choices=[name for name in FORMATS if needs_work(name)],
        help="onnx: a folder that answers without torch, in float32; onnx_int8: the same in a "
        "quarter of the bytes, whose probabilities differ a little; wheel, wheel_int8: these as a "
        "Python package to install; gguf, gguf_q8_0, gguf_q4_0: a language model for llama.cpp, in "
        "16, 8 and 4 bits",
    )
    parser.add_argument(
        "--student", help="which student of a run folder [the one that predict takes]"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the export [export/FORMAT in the student's folder]"
    )
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="csv, tsv, jsonl or parquet with texts, labelled or not, on which it is compared with "
        "the student [the test rows of the run]",
    )
    parser.add_argument(
        "--name",
        help="of a wheel, such as acme-sentiment: what pip, import and the command call it [of run "
        "and student]",
    )
    parser.add_argument(
        "--version",
        dest="package_version",
        metavar="VERSION",
        help="of a wheel, such as 1.2.0 [1.0+s and that of the student's content]",
    )


def export(options: argparse.Namespace) -> int:
    """`tutelage export`: one student in another format; exit 1 if it does not answer as the
    student.
    """
    from tutelage.cli.terminal import progress_for
    from tutelage.export.subject import Package
    from tutelage.recipes.exporting import export_student
    from tutelage.report.formats import plain_bytes

    named = options.name is not None or options.package_version is not None
    package = Package(options.name, options.package_version) if named else None
    written = export_student(
        options.folder,
        options.format,
        student=options.student,
        out=options.out,
        rows=options.rows,
        package=package,
        progress=progress_for(quiet=options.quiet or options.json),
    )
    if options.json:
        write_json(written)
        return 0
    write_result(f"{written['student']} as {written['format']}: {written['out']}")
    if "agreement" in written:
        write_result(
            f"{plain_bytes(written['bytes'])}; answers as the student on "
            f"{written['agreement']:.2%} of {written['rows']:,} {written['against']}, "
            f"probabilities at most {written['difference']:.2g} apart; temperature "
            f"{written['temperature']:g}"
        )
    if "mean_kl" in written:
        write_result(
            f"{plain_bytes(written['bytes'])}; {written['mean_kl']:.2g} nats from the student at "
            f"{written['positions']:,} positions of {written['texts']:,} {written['against']}, the "
            f"likeliest token agrees at {written['top1_agreement']:.1%}"
        )
    return 0
