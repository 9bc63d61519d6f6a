"""The page of `linear_divergence.py`, and which bars its rows meet."""

from __future__ import annotations

from typing import Any

from linear_contenders import CONTENDERS, POSITIONS, WIDTH

MEMORY_BAR = 1 / 5
ON_A_CPU = (
    "Memory is the high-water mark of the resident memory over the inputs, in a process for each "
    "contender; time the "
    "shortest of the rounds. Bars are held to CPU seconds where one thread was used, to seconds "
    "otherwise."
)
ON_A_GPU = (
    "Memory is the most that torch's allocator held over the inputs, in a process for each "
    "contender; time the "
    "shortest of the rounds, each the median of twenty steps that were waited for."
)


def bars(run: dict[str, Any]) -> dict[str, bool]:
    """Which bars a run meets."""
    rows, clock = run["rows"], _clock(run)
    others = [row[clock] for name, row in rows.items() if name not in ("products", "tutelage")]
    if "tutelage" not in rows or "plain PyTorch" not in rows:
        return {}
    return {
        "memory": rows["tutelage"]["peak_mib"] <= MEMORY_BAR * rows["plain PyTorch"]["peak_mib"],
        "time": rows["tutelage"][clock] <= min(others),
    }


def _clock(run: dict[str, Any]) -> str:
    return "cpu_seconds" if run["threads"] == 1 else "seconds"


def describe(results: dict[str, Any]) -> str:
    """The report."""
    how = ON_A_GPU if results.get("device") == "cuda" else ON_A_CPU
    lines = [
        "# Output matrix and divergence: time and memory",
        "",
        f"{results.get('positions', POSITIONS):,} tokens, states of width {WIDTH}, "
        f"{results.get('dtype', 'float32')}; "
        "loss and gradients of states and output matrix. "
        + how
        + " `x products`: time over that of the bare matrix "
        "products.",
    ]
    for run in results["runs"]:
        rows, target = (
            run["rows"],
            "sampled targets" if run["divergence"] == "sampled" else run["divergence"],
        )
        clock, many = _clock(run), max(row["seconds"] for row in rows.values()) < 0.5
        digits, scale, unit = (2, 1000, "ms") if many else (2, 1, "seconds")
        lines += ["", f"## {target}, vocabulary {run['vocabulary']:,}", ""]
        lines += [
            f"| | {unit} | CPU {unit} | x products | peak MiB | loss |",
            "|---|---|---|---|---|---|",
        ]
        for name, row in rows.items():
            times = f"{row[clock] / rows['products'][clock]:.2f}" if "products" in rows else ""
            loss = "" if name == "products" else f"{row['loss']:.4f}"
            seconds, cpu = row["seconds"] * scale, row["cpu_seconds"] * scale
            measured = f"{seconds:.{digits}f} | {cpu:.{digits}f} | {times} | {row['peak_mib']:,.0f}"
            lines.append(f"| {name} | {measured} | {loss} |")
        goes, loads = (
            {row["begun"] for row in rows.values()},
            [row["load_before"] for row in rows.values()],
        )
        met = "".join(f"; {bar} bar {'met' if ok else 'missed'}" for bar, ok in bars(run).items())
        lines += [
            "",
            f"{run['threads']} threads; measured "
            f"{'in turns' if len(goes) == 1 else f'in {len(goes)} goes'}; load "
            f"average before {min(loads):.1f} to {max(loads):.1f}{met}.",
        ]
        missing = [
            name
            for name, (package, _) in CONTENDERS.items()
            if name not in rows and not (package and run["divergence"] == "sampled")
        ]
        if missing:
            lines += [
                "",
                f"Not measured here, so no bar is held against them: {', '.join(missing)}.",
            ]
        if run["not_installed"]:
            lines += ["", f"Not installed: {', '.join(run['not_installed'])}."]
    lines += [
        "",
        "TRL and Liger take no sampled targets; there plain PyTorch gathers from a log-softmax, "
        "and its value lacks "
        "the teacher's entropy.",
        "",
        f"{results['machine']}; {results['versions']}.",
        "",
        f"Again: `python benchmarks/linear_divergence.py{results.get('options', '')}` (how to "
        "install the others: see "
        "its first lines).",
    ]
    return "\n".join(lines) + "\n"
