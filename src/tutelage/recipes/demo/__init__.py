"""Jobs to try: real data fetched, files and an ordinary recipe written; the rest is `run`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.types import Progress


@dataclass(frozen=True)
class Demo:
    """The demo of one task."""

    words: str
    """What it is called."""
    module: str
    """Where the function is that writes it."""
    function: str
    """Takes a folder, `seed`, `progress` and its own options; gives the recipe that it wrote."""
    folder: str
    """Where it goes unless a person says otherwise."""
    options: Sequence[str]
    """Its own options on the command line; the other demos know nothing of them."""

    def write(self, folder: Path, *, seed: int, progress: Progress, **options: Any) -> Path:
        """Fetch its data and write files and recipe; gives the recipe."""
        function = getattr(importlib.import_module(self.module), self.function)
        return function(folder, seed=seed, progress=progress, **options)


DEMOS = {
    "classification": Demo(
        "the classification demo",
        "tutelage.recipes.demo.classification",
        "write_demo",
        "tutelage-demo",
        ("fast", "sentences"),
    ),
    "causal_lm": Demo(
        "the language-model demo (--task causal_lm)",
        "tutelage.recipes.demo.language",
        "write_language_demo",
        "tutelage-demo-lm",
        ("reviews",),
    ),
}
"""The demo of every task that has one, by the name that recipes give the task."""
