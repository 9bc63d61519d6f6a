"""The result of a run as a table for the terminal: teacher, students, controls, baselines."""

from __future__ import annotations

import io
import shutil
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tutelage.cli.terminal import counted, format_bytes

QUALITY = (
    ("accuracy", "accuracy", 1),
    ("macro_f1", "macro F1", 1),
    ("agreement", "agrees", 1),
    ("kl", "KL", 3),
)
FULL_WIDTH = 126
"""Narrower terminals wrap the lines themselves; no number is ever cut."""
BASELINES = {"tfidf_logistic_regression": "TF-IDF + logistic", "majority": "commonest class"}
CALIBRATION = (("nll", "NLL", 3), ("ece", "ECE", 1))


def results_table(evaluation: dict[str, Any], *, width: int | None = None) -> str:
    """The table at the end of a run.

    Args:
        evaluation: The content of evaluation.json.
        width: Columns of the terminal; None asks it, but takes at least what the table needs.

    Returns:
        Text without colour: accuracy and its 95 % interval, the other metrics, size, latency and
            how many times
        faster than the teacher one example is answered.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("model", no_wrap=True)
    for title in (
        "accuracy % [95 %]",
        *(name for _, name, _ in (*QUALITY[1:], *CALIBRATION)),
        "params",
        "bytes",
        "ms",
        "faster",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    teacher = evaluation["teacher"]
    rows = [("teacher", teacher)]
    for name, metrics in evaluation["students"].items():
        rows.append((name, metrics))
        if name in evaluation.get("controls", {}):
            rows.append(("  on labels only", evaluation["controls"][name]))
    rows += [
        (BASELINES.get(name, name), metrics)
        for name, metrics in evaluation.get("baselines", {}).items()
    ]
    for name, metrics in rows:
        table.add_row(name, *_cells(metrics, teacher))
    buffer = io.StringIO()
    columns = width or max(shutil.get_terminal_size((FULL_WIDTH, 24)).columns, FULL_WIDTH)
    Console(file=buffer, width=columns, highlight=False).print(table)
    legend = f"{counted(evaluation['rows'], 'test rows')}; ms: median for one text; faster: times the teacher's."
    devices = evaluation.get("devices", {})
    if len(set(devices.values())) > 1:
        legend += (
            f"\nMeasured on {', '.join(f'{device} ({who})' for who, device in devices.items())}."
        )
    return f"\n{buffer.getvalue().rstrip()}\n\n{legend}\n"


def _cells(metrics: dict[str, Any], teacher: dict[str, Any]) -> list[str]:
    cells = []
    for key, _, digits in (*QUALITY, *CALIBRATION):
        if key not in metrics:
            cells.append("")
            continue
        percent = key not in ("kl", "nll")
        scale = 100 if percent else 1
        value = metrics[key]
        text = f"{scale * value['value']:.{digits}f}"
        if key == "accuracy":
            text += f" [{scale * value['low']:.1f}, {scale * value['high']:.1f}]"
        cells.append(text)
    latency = metrics.get("latency_ms_p50")
    cells.append(_count(metrics["parameters"]["value"]) if "parameters" in metrics else "")
    cells.append(format_bytes(metrics["disk_bytes"]["value"]) if "disk_bytes" in metrics else "")
    cells.append(f"{latency['value']:.2f}" if latency else "")
    cells.append(
        _times(teacher["latency_ms_p50"]["value"] / latency["value"])
        if latency and "latency_ms_p50" in teacher
        else ""
    )
    return cells


def _times(ratio: float) -> str:
    """How many times faster; with a digit more where a whole number would hide which side is
    faster, and how much.
    """
    return (
        f"{ratio:.0f}x"
        if ratio >= 10 or ratio == 1
        else f"{ratio:.1f}x"
        if ratio >= 0.1
        else f"{ratio:.2g}x"
    )


def _count(number: float) -> str:
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.0f}{unit}" if not unit or number >= 100 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.1f}B"
