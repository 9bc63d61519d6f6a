"""What a run would take of this machine, whatever its task: how fast it computes, what is free,
what does not fit, and all of it in words.

In: an estimate in plain numbers. Out: the same less what is there already, or a refusal.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage import runs
from tutelage.errors import NotEnoughDisk, NotEnoughMemory, Problem
from tutelage.runs import RunFolder
from tutelage.types import describe_bytes

DISK_MARGIN = 1.2


@dataclass(frozen=True)
class Check:
    """What `check` found."""

    problems: Sequence[Problem]
    """Errors and warnings."""
    estimate: dict[str, Any]
    """`teacher_seconds`, `training_seconds`, `disk_bytes`, `free_disk_bytes`, `teacher_tokens`,
    `steps`; empty if the data or the model cannot be read."""
    summary: str
    """The estimate in words."""


def still_to_write(
    estimate: dict[str, Any], folder: RunFolder, stages: Mapping[str, str]
) -> dict[str, Any]:
    """An estimate less what a run has written before, checkpoints and half of a target store
    included.

    Args:
        estimate: Of the whole run.
        folder: The run's.
        stages: Fingerprint of each stage that is asked for, by its name. What a stage made of other
            inputs does not count: it may stay beside what is made now.
    """
    written = 0
    for name, fingerprint in stages.items():
        stage = folder.stage(name)
        if stage.is_done(fingerprint) or not stage.path.exists():
            written += sum(
                path.stat().st_size for path in (folder.path / name).rglob("*") if path.is_file()
            )
    return {**estimate, "disk_bytes": max(0, estimate["disk_bytes"] - written)}


def require_disk(estimate: dict[str, Any]) -> None:
    """Refuse a run whose output would not fit.

    Raises:
        NotEnoughDisk: The estimate with a margin is more than what is free.
    """
    needed, free = DISK_MARGIN * estimate["disk_bytes"], estimate["free_disk_bytes"]
    if needed > free:
        raise NotEnoughDisk(
            f"about {describe_bytes(needed)} would be written but {describe_bytes(free)} are free. "
            "Free some space, choose another disk (run --out for the run, TUTELAGE_CACHE for "
            "models), or train fewer or smaller students"
        )


def require_memory(estimate: dict[str, Any]) -> None:
    """Refuse a run that this machine has not the memory for, however idle it is.

    Raises:
        NotEnoughMemory: What cannot be done without is more than all memory.
    """
    needed, there = estimate["least_memory_bytes"], estimate["total_memory_bytes"]
    if needed > there:
        raise NotEnoughMemory(
            f"at least {describe_bytes(needed)} of memory would be needed at once but this machine "
            f"has {describe_bytes(there)}. Train a smaller student, take a smaller teacher, or run "
            "on a larger machine"
        )


def free_disk_bytes(folder: Path) -> int:
    """What is free on the disk where a folder is, or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def free_memory_bytes() -> int:
    """Memory that could be had now, in bytes."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return total_memory_bytes()


def total_memory_bytes() -> int:
    """Memory of this machine, in bytes; beyond every need where the system does not tell."""
    return runs.total_memory_bytes() or sys.maxsize


def matrix_product_rate(size: int = 1024, repeats: int = 5) -> float:
    """Floating-point operations a second of a float32 matrix product where models will run, the
    best of a few.
    """
    import torch

    if torch.cuda.is_available():
        return _rate_on_gpu(4 * size, repeats)
    left, right = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    product = np.empty_like(left)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        np.matmul(left, right, out=product)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def _rate_on_gpu(size: int, repeats: int) -> float:
    import torch

    left = torch.ones(size, size, device="cuda")
    best = float("inf")
    for _ in range(repeats + 1):  # the first one loads the kernel
        torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(left, left)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def describe_minutes(seconds: float) -> str:
    """A duration as an estimate is told."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def describe_effort(estimate: Mapping[str, Any]) -> str:
    """What the teacher reads and how long that takes, and what it costs where it costs money."""
    if not estimate["teacher_tokens"]:
        return "its answers are there: nothing is computed"
    price = f", {estimate['teacher_dollars']:,.2f} $" if estimate.get("teacher_dollars") else ""
    requests = (
        f"{estimate['teacher_requests']:,} requests, " if estimate.get("teacher_requests") else ""
    )
    return (
        f"{requests}about {estimate['teacher_tokens']:,} tokens, "
        f"{describe_minutes(estimate['teacher_seconds'])}{price}"
    )
