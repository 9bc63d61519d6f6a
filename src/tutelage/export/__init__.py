"""Exports: a trained student in the formats of other programs.

In: a student's folder. Out: a folder beside its weights, for each format that a recipe asks for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMATS: dict[str, str] = {
    "transformers": "",
}
"""The module that makes each format, by the name that recipes give it. It has a function
`export(student: Path, out: Path) -> Mapping`, which fills the empty folder `out` and tells facts.
No module: a student's own folder is in this format already."""


def needs_work(name: str) -> bool:
    """Whether a format must be made, or is what training leaves anyway."""
    return bool(FORMATS[name])


def export(name: str, student: Path, out: Path) -> Mapping[str, Any]:
    """Write a student in a format.

    Args:
        name: A key of `FORMATS`.
        student: Its folder.
        out: A folder that is empty or not there yet.

    Returns:
        Facts about what was written, as JSON values.
    """
    out.mkdir(parents=True, exist_ok=True)
    return importlib.import_module(FORMATS[name]).export(student, out)
