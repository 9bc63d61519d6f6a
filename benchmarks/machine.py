"""What a benchmark ran on, and how its results are kept."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def processor() -> str:
    """The processor's name."""
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine(*packages: str) -> dict[str, Any]:
    """Processor or GPU, threads of torch, and versions of packages."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    versions = {package: importlib.metadata.version(package) for package in packages}
    return {"processor": name, "threads": torch.get_num_threads(), "packages": versions}


def keep(
    report: dict[str, Any], as_markdown: Callable[[dict[str, Any]], str], *, out: Path
) -> None:
    """Write a report as `NAME.json` and `NAME.md`, NAME being its `benchmark`, and print the
    page."""
    page = as_markdown(report)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{report['benchmark']}.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    (out / f"{report['benchmark']}.md").write_text(page, "utf-8")
    print(page)
