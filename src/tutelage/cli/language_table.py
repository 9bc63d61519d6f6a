"""The result of a language-model run as a table for the terminal: teacher, students, controls."""

from __future__ import annotations

import io
import shutil
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tutelage.cli.terminal import format_bytes

MEASURES = (
    ("bits_per_byte", "bits/byte", 1, 3),
    ("kl", "KL", 1, 3),
    ("top1_agreement", "agrees %", 100, 1),
    ("acceptance", "accepted %", 100, 1),
    ("ece", "ECE %", 100, 1),
)
FULL_WIDTH = 134
"""Narrower terminals wrap the lines themselves; no number is ever cut."""


def language_table(evaluation: dict[str, Any], *, width: int | None = None) -> str:
    """The table at the end of a language-model run.

    Args:
        evaluation: The content of evaluation.json.
        width: Columns of the terminal; None asks it, but takes at least what the table needs.

    Returns:
        Text without colour: nats per token with the 95 % interval, the other measures, size and
            speed.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("model", no_wrap=True)
    for title in (
        "nats/token [95 %]",
        *(title for _, title, _, _ in MEASURES),
        "params",
        "bytes",
        "tokens/s",
        "faster",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    teacher = evaluation["teacher"]
    rows = [("teacher", teacher)]
    for name, metrics in evaluation["students"].items():
        rows.append((name, metrics))
        if name in evaluation.get("controls", {}):
            rows.append(("  on the text alone", evaluation["controls"][name]))
    for name, metrics in rows:
        table.add_row(name, *_cells(metrics, teacher))
    buffer = io.StringIO()
    columns = width or max(shutil.get_terminal_size((FULL_WIDTH, 24)).columns, FULL_WIDTH)
    Console(file=buffer, width=columns, highlight=False).print(table)
    legend = (
        f"{evaluation['documents']:,} test documents, {evaluation['tokens']:,} tokens; tokens/s: "
        "writing, one text at "
        "a time; faster: times the teacher's."
    )
    for name, metrics in evaluation["students"].items():
        if "kept_mass" in metrics:
            share = 100 * metrics["kept_mass"]["value"]
            legend += f" KL of {name}: over the tokens it has, {share:.1f} % of the teacher's probability."
    return f"\n{buffer.getvalue().rstrip()}\n\n{legend}\n"


def _cells(metrics: dict[str, Any], teacher: dict[str, Any]) -> list[str]:
    nats = metrics["nats_per_token"]
    cells = [f"{nats['value']:.3f} [{nats['low']:.3f}, {nats['high']:.3f}]"]
    cells += [
        f"{scale * metrics[key]['value']:.{digits}f}" if key in metrics else ""
        for key, _, scale, digits in MEASURES
    ]
    cells.append(f"{metrics['parameters']['value'] / 1e6:.1f}M" if "parameters" in metrics else "")
    cells.append(format_bytes(metrics["disk_bytes"]["value"]) if "disk_bytes" in metrics else "")
    speed = metrics.get("tokens_per_second")
    cells.append(f"{speed['value']:.0f}" if speed else "")
    theirs = teacher.get("tokens_per_second")
    cells.append(f"{speed['value'] / theirs['value']:.1f}x" if speed and theirs else "")
    return cells
