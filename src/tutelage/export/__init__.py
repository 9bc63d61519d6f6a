"""Exports: a trained student in the formats of other programs.

In: a student's folder, and what is known of where it comes from. Out: a folder for each format that
is asked for, which exists only if what is in it answers as the student does. Only the standard
library is imported until something is exported.
"""

from __future__ import annotations

import glob
import importlib
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tutelage.errors import ExportFailed, MissingExtra
from tutelage.export.subject import Origin, Rows, Subject

__all__ = [
    "FORMATS",
    "Format",
    "Origin",
    "Rows",
    "Subject",
    "export",
    "needs_work",
    "require_packages",
]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of other programs."""

    make: str = ""
    """`module:function` within this room, called with a `Subject` and an empty folder, which it
    fills; it gives facts, and raises `ExportFailed` where the result does not answer as the
    student. Nothing: a student's own folder is in this format already."""
    tasks: tuple[str, ...] = ("classification", "causal_lm")
    """Kinds of task whose students it is for."""
    packages: tuple[str, ...] = ()
    """That must be installed, from the extra `export`."""


_ONNX = ("onnx", "onnxscript", "onnxruntime")
FORMATS: dict[str, Format] = {
    "transformers": Format(),
    "onnx": Format("bundles:write_onnx", ("classification",), _ONNX),
    "onnx_int8": Format("bundles:write_int8", ("classification",), _ONNX),
    "wheel": Format("wheel:write", ("classification",), _ONNX),
    "wheel_int8": Format("wheel:write_int8", ("classification",), _ONNX),
    "gguf": Format("gguf:write_f16", ("causal_lm",)),
    "gguf_q8_0": Format("gguf:write_q8_0", ("causal_lm",)),
    "gguf_q4_0": Format("gguf:write_q4_0", ("causal_lm",)),
}
"""By the name that recipes and `tutelage export` give it."""
FAILED = ".failed"
"""What the folder of an export that failed is called behind its name."""


def _is_at_work(process: str) -> bool:
    """Whether another process of this number is there; this one has not begun yet."""
    if not process.isdigit() or int(process) == os.getpid():
        return not process.isdigit()
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def needs_work(name: str) -> bool:
    """Whether a format must be made, or is what training leaves anyway."""
    return bool(FORMATS[name].make)


def require_packages(names: Collection[str]) -> None:
    """Refuse formats that something is missing for, before any work.

    Raises:
        MissingExtra: A package is not installed.
    """
    for name in names:
        for package in FORMATS[name].packages:
            if find_spec(package) is None:
                raise MissingExtra(package, extra="export", purpose=f"the format {name}")


def export(name: str, subject: Subject, out: Path) -> Mapping[str, Any]:
    """Write a student in a format.

    It is made beside `out` and moved there whole, in the place of an older one.

    Args:
        name: A key of `FORMATS`.
        subject: The student.
        out: Where the folder shall lie.

    Returns:
        Facts about what was written, as JSON values.

    Raises:
        ExportFailed: It does not answer as the student; what was made lies in `OUT.failed`, an
            older export is still there.
        ModelError: The student cannot be read, or not be written in this format.
        MissingExtra: A package for it is not installed.
    """
    from tutelage.runs import storing
    from tutelage.runs.contents import remove

    require_packages([name])
    module, _, function = FORMATS[name].make.partition(":")
    make = getattr(importlib.import_module(f"tutelage.export.{module}"), function)
    beside, failed = (out.with_name(f"{out.name}{end}") for end in (f".{os.getpid()}.tmp", FAILED))
    with storing(out):
        remove(failed)
        for left in out.parent.glob(f"{glob.escape(out.name)}.*.tmp"):
            if not _is_at_work(left.suffixes[-2][1:]):  # a kill left it
                remove(left)
        beside.mkdir(parents=True)
        try:
            facts = make(subject, beside)
        except ExportFailed as error:
            beside.replace(failed)
            raise ExportFailed(f"{error} What was made is kept in {failed}") from None
        else:
            remove(out)
            beside.replace(out)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return facts
