"""From the name of a model to the place where it lies; nothing is read, converted or fetched.

In: a model's name as a recipe writes it. Out: a folder, a .gguf file, or nothing for a model of the
hub. Only weights that are spread over several packages are put together first, once.
"""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import ModelError
from tutelage.models.packages import find_in_package
from tutelage.models.weights import check_model_folder


def locate(spec: str, *, tokenizer: bool = True) -> Path | None:
    """The model folder or .gguf file that a name means, None for a hub id.

    Args:
        spec: A model folder, a .gguf file, a hub id (`owner/name`), or `package:NAME` for weights
            inside an installed Python package, or inside `NAME-part1`, `NAME-part2` and so on.
        tokenizer: Whether a folder must hold one.

    Raises:
        ModelError: A path or package that is not there, or a folder that is no model.
    """
    inside = spec.startswith("package:")
    path = find_in_package(spec.removeprefix("package:")) if inside else Path(spec).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"{path}: no such file. Check the path of the .gguf file")
        return path
    if path.is_dir():
        check_model_folder(path, tokenizer=tokenizer)
        return path
    if path.is_file():
        raise ModelError(f"{path} is a file; expected a model folder or a .gguf file")
    if path.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1:
        raise ModelError(
            f"{spec}: no such model folder. Give a folder, a .gguf file, a hub id (owner/name) or "
            "package:NAME"
        )
    return None
