"""What a whole run depends on, told without reading it: the recipe, and the bytes of its files.

In: a recipe, its data files, its models. Out: one fingerprint. Equal inputs make equal stages, so
with it a finished run is known to be finished before data is read, and without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tutelage.runs import fingerprint, fingerprint_file
from tutelage.runs.stages import STAGE_VERSION

_PACKAGES = ("tutelage", "transformers", "tokenizers", "jinja2")
"""What makes documents and fingerprints of the files: another version may make others."""


def inputs_fingerprint(
    recipe: object,
    *,
    files: Iterable[Path],
    weights: Iterable[str],
    besides: object = None,
) -> str:
    """The fingerprint of everything that a run of a recipe depends on.

    Args:
        recipe: All of it.
        files: The data files that it names.
        weights: Names of those that its students start from.
        besides: What else the stages depend on, such as what the teacher knows.

    Raises:
        OSError: A file cannot be read.
        ModelError: A model is not there.
    """
    return fingerprint(
        "inputs",
        STAGE_VERSION,
        {name: _version(name) for name in _PACKAGES},
        recipe,
        [fingerprint_file(path) for path in files],
        list(weights),
        besides,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
