"""From the name of a model to the place where it lies; nothing is read, converted or fetched.

In: a model's name as a recipe writes it. Out: a folder, a .gguf file, or nothing for a model of the
hub.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tutelage.errors import ModelError
from tutelage.models.weights import check_model_folder
from tutelage.runs import cache_folder


def locate(spec: str) -> Path | None:
    """The model folder or .gguf file that a name means, None for a hub id; nothing is read or
    converted.

    Raises:
        ModelError: A path or package that is not there, or a folder that is no model.
    """
    inside = spec.startswith("package:")
    path = _inside_package(spec.removeprefix("package:")) if inside else Path(spec).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"{path}: no such file. Check the path of the .gguf file")
        return path
    if path.is_dir():
        check_model_folder(path)
        return path
    if path.is_file():
        raise ModelError(f"{path} is a file; expected a model folder or a .gguf file")
    if path.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1:
        raise ModelError(
            f"{spec}: no such model folder. Give a folder, a .gguf file, a hub id (owner/name) or "
            "package:NAME"
        )
    return None


def _inside_package(name: str) -> Path:
    """The one .gguf file or model folder inside an installed package, found without importing
    it.
    """
    roots: list[Path] = []
    try:
        found = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    if found is not None:
        roots += [Path(place) for place in found.submodule_search_locations or ()]
    roots.append(cache_folder() / "packages" / name)
    roots = [root for root in roots if root.is_dir()]
    if not roots:
        raise ModelError(
            f"package:{name}: no Python package of that name is installed. Install it: "
            f"pip install {name.replace('_', '-')}"
        )
    models = sorted({path for root in roots[:1] for path in root.rglob("*.gguf")})
    models += sorted({path.parent for root in roots[:1] for path in root.rglob("config.json")})
    if len(models) != 1:
        which = ", ".join(str(path) for path in models) or "none"
        raise ModelError(
            f"package:{name}: expected exactly one .gguf file or model folder inside {roots[0]}, "
            f"found {which}. "
            "Name the file itself instead of the package"
        )
    return models[0]
