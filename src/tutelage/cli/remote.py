"""URLs among the words of a command: brought here where the command only reads, left to the flow of
a run, or refused in one line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tutelage.errors import RecipeError
from tutelage.types import SILENT, Progress
from tutelage.urls import is_remote, url_objection, url_of

_FLOW = ("label", "train", "evaluate", "report", "run")
_RECIPE_ENDINGS = (".yaml", ".yml")
READ = {
    "predict": ("folder", "file"),
    "explain": ("folder", "file"),
    "verify": ("folder",),
    "runs": ("root",),
    "compare": ("folders",),
    "targets": ("store", "stores"),
}
"""By command the options of which a copy in the cache does as well."""


def bring(options: argparse.Namespace, *, progress: Progress = SILENT) -> None:
    """Put a place on this disk for every URL among the options.

    Args:
        options: Changed where they hold URLs; nothing is imported where there are none.
        progress: Told what is read from where.

    Raises:
        RecipeError: The command writes there, or needs it on this disk; or a URL holds what should
            not be written down.
        StorageError: The store refuses, or cannot be reached.
        RunIncomplete: Nothing lies at the URL.
    """
    for name, value in list(vars(options).items()):
        places = value if isinstance(value, list) else [value]
        remote = [one for one in places if isinstance(one, Path) and is_remote(one)]
        if not remote:
            continue
        for one in remote:
            if (objection := url_objection(one)) is not None:
                raise RecipeError(objection)
        if name in READ.get(options.command, ()):
            here = [_here(one, progress) for one in places]
            setattr(options, name, here if isinstance(value, list) else here[0])
        elif name == "recipe" and options.command in (*_FLOW, "check"):
            _of_recipe(options)
        elif name != "out" or options.command not in _FLOW or _is_table(options.recipe):
            raise _refusal(options.command, remote[0])


def _here(place: Any, progress: Progress) -> Any:
    if not isinstance(place, Path) or not is_remote(place):
        return place
    from tutelage.runs.remote import local_file, local_folder

    if _is_table(place):
        try:
            return local_file(place)
        except FileNotFoundError:
            raise RecipeError(f"no such object: {url_of(place)}; correct the URL") from None
    here = local_folder(place)
    progress.say(f"{url_of(place)} is read from its copy in {here}")
    return here


def _of_recipe(options: argparse.Namespace) -> None:
    """A recipe at a URL is read from there; a run at a URL goes on there."""
    place = options.recipe
    if place.suffix.lower() in _RECIPE_ENDINGS:
        return
    if _is_table(place):
        raise _refusal(options.command, place)
    options.recipe = place / "recipe.yaml"
    if options.command in _FLOW and options.out is None:
        options.out = place


def _is_table(place: Path) -> bool:
    return place.suffix.lower() in (".csv", ".tsv", ".jsonl", ".parquet")


def _refusal(command: str, place: Any) -> RecipeError:
    return RecipeError(
        f"{url_of(place)}: tutelage {command} works on this disk alone; expected a path. Copy it "
        "first, for instance with: aws s3 cp --recursive URL FOLDER (URLs: "
        "docs/remote.md)"
    )
