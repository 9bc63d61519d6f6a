"""Writing a student's folder so that a kill never leaves half a model behind.

In: a model and its tokenizer. Out: a folder in the `save_pretrained` layout, weights as
safetensors.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.pretrained import without_bars
from tutelage.runs import settle_folder, storing, sync_folder
from tutelage.students.configurations import are_generic

CONFIG_FILE = "config.json"


def save(model: Any, tokenizer: Any, folder: Path | str) -> Path:
    """Save a classifier and its tokenizer; other files of the folder are left alone.

    Args:
        model: A sequence classifier of transformers whose configuration names its classes.
        tokenizer: Its tokenizer.
        folder: Made if absent; may already hold metrics, checkpoints or an older model.

    Returns:
        The folder.

    Raises:
        ModelError: The model's classes have no names, so that pipelines would print `LABEL_0`.
    """
    if are_generic(model.config.id2label):
        raise ModelError(
            f"the model's classes are named {list(model.config.id2label.values())}: build it with "
            "the task's labels"
        )
    return save_model(model, tokenizer, folder)


def save_model(model: Any, tokenizer: Any, folder: Path | str) -> Path:
    """Save any model of transformers and its tokenizer; other files of the folder are left alone.

    Everything is written beside and synced first. Then the old `config.json` is removed, the files
    are moved in, and the new `config.json` comes last: a folder with `config.json` holds a whole
    model, one without is refused by whoever loads it.

    Args:
        model: A model of transformers.
        tokenizer: Its tokenizer.
        folder: Made if absent; may already hold metrics, checkpoints or an older model.

    Returns:
        The folder.

    Raises:
        StorageError: The file system refuses; an older model is still there.
    """
    folder = Path(folder)
    with storing(folder):
        _save_model(model, tokenizer, folder)
    return folder


def _save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".saving-{os.getpid()}"
    for left_over in folder.glob(".saving-*"):
        shutil.rmtree(left_over)
    fresh.mkdir()
    try:
        with without_bars():
            model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        settle_folder(fresh)
        (folder / CONFIG_FILE).unlink(missing_ok=True)
        for path in sorted(fresh.iterdir(), key=lambda path: (path.name == CONFIG_FILE, path.name)):
            path.replace(folder / path.name)
        sync_folder(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
