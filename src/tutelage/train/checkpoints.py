"""The state of a training run on disk, in safe formats, whole or not there.

A checkpoint is a folder `step-NNNNNNNN`: `tensors.safetensors` (weights, optimizer moments, moving
average, best weights, random state) and `state.json` (counters). It is written under a temporary
name, synced and renamed; the newest two are kept.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tutelage.runs import atomic_write_json, sync_folder

KEPT = 2
_PREFIX = "step-"
_UNFINISHED = ".writing"


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint and remove all but the newest two.

    A kill at any moment leaves the checkpoints there were before, or these and the new one.

    Args:
        folder: `checkpoints/` of a student.
        step: Optimizer steps done.
        tensors: By name; storage shared by two names is written twice.
        state: JSON values; numbers must be finite.

    Returns:
        The checkpoint's folder.
    """
    target, temporary = folder / f"{_PREFIX}{step:08d}", folder / _UNFINISHED
    shutil.rmtree(temporary, ignore_errors=True)  # what a kill has left
    temporary.mkdir(parents=True)
    file = temporary / "tensors.safetensors"
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, file
    )
    with file.open("rb+") as written:
        os.fsync(written.fileno())
    atomic_write_json(temporary / "state.json", dict(state))
    if target.exists():  # only a damaged one is ever written again
        shutil.rmtree(target)
    temporary.replace(target)
    sync_folder(folder)
    for old in _found(folder)[:-KEPT]:
        shutil.rmtree(old)
    return target


def read_newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state of the newest checkpoint that is whole; None if there is none."""
    for path in reversed(_found(folder)):
        try:
            return load_file(path / "tensors.safetensors"), json.loads(
                (path / "state.json").read_text("utf-8")
            )
        except (OSError, ValueError, SafetensorError):
            continue  # damaged: the one before it is as good, only older
    return None


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))
