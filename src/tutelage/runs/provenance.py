"""Where a result came from: versions, machine, git state."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "safetensors",
    "pyarrow",
    "scikit-learn",
    "pydantic",
)
"""Packages whose version can change a result."""


def provenance() -> dict[str, Any]:
    """Describe this process: tutelage, Python, packages, machine, the git state of the current
    folder.

    Returns:
        `tutelage`, `created` (UTC, ISO 8601), `python`, `packages` {name: version}, `machine` {cpu,
        cores, memory_bytes, system}, `git` {commit, dirty} or None.
    """
    return {
        "tutelage": _version("tutelage") or "unknown",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_bytes": total_memory_bytes(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "git": _git_state(Path.cwd()),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def total_memory_bytes() -> int | None:
    """Memory of this machine, in bytes; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _git_state(folder: Path) -> dict[str, Any] | None:
    try:
        commit, status = (
            subprocess.run(
                ["git", *words],
                cwd=folder,
                capture_output=True,
                check=True,
                timeout=10,
                encoding="utf-8",
                errors="replace",
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(status)}
