"""`tutelage retrain RUN`: its options, and what it shows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tutelage.cli.certifying import share
from tutelage.cli.streams import write_json, write_result


def add_words(parser: argparse.ArgumentParser) -> None:
    """What `retrain` is given."""
    parser.add_argument("folder", type=Path, help="the run whose student serves")
    parser.add_argument(
        "--traffic",
        type=Path,
        required=True,
        metavar="DIR",
        help="what tutelage serve ... --record DIR has kept",
    )
    parser.add_argument(
        "--disagreement",
        type=share,
        required=True,
        metavar="SHARE",
        help="the largest share of disagreements with the upstream to certify, such as 0.02",
    )
    parser.add_argument(
        "--confidence",
        type=share,
        default=0.95,
        metavar="SHARE",
        help="with what probability the promise is kept [0.95]",
    )
    parser.add_argument(
        "--hold-out",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="of the texts that were kept by chance, those that certify and train nothing [0.5]",
    )
    parser.add_argument(
        "--format", choices=("onnx", "onnx_int8"), default="onnx", help="of the export [onnx]"
    )
    parser.add_argument(
        "--service",
        type=Path,
        metavar="DIR",
        help="a folder of versions (tutelage release): its current one is the student to beat",
    )
    parser.add_argument(
        "--promote",
        action="store_true",
        help="put the new student in service there if it may answer more",
    )


def run(options: argparse.Namespace) -> int:
    """Retrain; 0 where the new student is better, 1 where it is not."""
    from tutelage.cli.terminal import progress_for
    from tutelage.recipes.retraining import retrain

    found = retrain(
        options.folder,
        options.traffic,
        disagreement=options.disagreement,
        confidence=options.confidence,
        held_out=options.hold_out,
        form=options.format,
        service=options.service,
        promote=options.promote,
        progress=progress_for(quiet=options.quiet or options.json),
    )
    if options.json:
        write_json(found)
    else:
        write_result(_page(found, options))
    return 0 if found["better"] else 1


def _page(found: dict[str, Any], options: argparse.Namespace) -> str:
    texts = found["texts"]
    lines = [
        f"{found['run']}: learned from {texts['before']:,} answers of before and "
        f"{texts['learned']:,} of the traffic; {texts['certified_with']:,} texts of it certify",
        "",
    ]
    for title in ("current", "candidate"):
        one = found[title]
        if one["file"] is None:
            lines.append(f"  {title:<10}nothing can be certified")
        else:
            lines.append(
                f"  {title:<10}{one['name']}: {one['coverage']:.1%} answered alone, disagreeing on "
                f"at most {one['bound']:.2%} of all"
            )
    lines.append("")
    if found["promoted"]:
        lines.append(f"{found['promoted']} is in service; tutelage release rollback goes back")
    elif found["better"]:
        lines.append(
            f"The new student may answer more. Put it in service: tutelage release promote "
            f"{found['export']} {options.service or 'SERVICE'}"
        )
    else:
        lines.append("The new student may not answer more; the current one stays.")
    return "\n".join(lines)
