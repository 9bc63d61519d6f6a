"""Distil large language models into small students.

The names below are resolved when first used, so that `import tutelage` is quick and needs neither
torch nor transformers; it changes nothing outside this package. After `tutelage.register()` the
Auto classes and pipelines of transformers load a saved recurrent student without
`trust_remote_code`.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the milliseconds that importing typing takes

if TYPE_CHECKING:
    from typing import Any

    from tutelage import losses, metrics, students, targets, teachers
    from tutelage.data import read_examples
    from tutelage.losses import ForwardKL
    from tutelage.models import register
    from tutelage.recipes.loading import load_recipe
    from tutelage.tasks.classification.distilling import distill
    from tutelage.teachers import label
    from tutelage.types import Example

    __version__: str

__all__ = [
    "Example",
    "ForwardKL",
    "__version__",
    "distill",
    "label",
    "load_recipe",
    "losses",
    "metrics",
    "read_examples",
    "register",
    "students",
    "targets",
    "teachers",
]

_NAMES = {
    "Example": "tutelage.types",
    "ForwardKL": "tutelage.losses",
    "distill": "tutelage.tasks.classification.distilling",
    "label": "tutelage.teachers",
    "load_recipe": "tutelage.recipes.loading",
    "read_examples": "tutelage.data",
    "register": "tutelage.models.pretrained",
}
_ROOMS = frozenset({"losses", "metrics", "students", "targets", "teachers"})


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for."""
    if name == "__version__":
        value = _version()
    elif name in _ROOMS:
        value = importlib.import_module(f"tutelage.{name}")
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(
            f"module 'tutelage' has no attribute {name!r}; public names: {', '.join(__all__)}"
        )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, with what the module holds anyway."""
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The installed version; "0+unknown" for a source tree that was never installed."""
    from importlib import metadata

    try:
        return metadata.version("tutelage")
    except metadata.PackageNotFoundError:
        return "0+unknown"
