"""A second call on a finished recipe: found finished from records, without data, tokens or torch.

In: a recipe and the fingerprint of everything that it names. Out: the run that is finished, or
nothing, and then the flow looks at everything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.config import dump_recipe
from tutelage.errors import RunExists, TutelageError
from tutelage.recipes.upkeep import is_whole
from tutelage.runs import (
    Finished,
    RunFolder,
    lock,
    open_run,
    recall_finished,
    remember_finished,
)
from tutelage.runs.stages import StageOutcome, Stages


def known_inputs(fingerprint_of: Callable[[], str]) -> str | None:
    """The fingerprint of a run's inputs; None where one cannot be read, which the flow reports."""
    try:
        return fingerprint_of()
    except (OSError, TutelageError):
        return None


def find_finished(
    recipe: Any, inputs: str | None, *, out: Path | None, root: Path, until: str
) -> tuple[RunFolder, Finished, Sequence[StageOutcome]] | None:
    """The run of this recipe, if a call up to the same stage ended with these very inputs and all
    that it made is still there; the checksums of its targets are verified, once.

    Args:
        recipe: From `load_recipe`.
        inputs: The fingerprint of the recipe and of every file that it names.
        out: Run folder; None looks for it as `open_run` does.
        root: Where runs lie.
        until: The last stage that is asked for.

    Returns:
        The folder, how that call ended, and every stage as kept. None where anything is to be done.
    """
    if inputs is None:
        return None
    try:
        folder = open_run(root, recipe.name, dump_recipe(recipe), out=out)
    except RunExists:  # said by the flow, after what may be wrong with the data
        return None
    if recall_finished(folder, until, inputs=inputs) is None:
        return None
    with lock(folder.path):
        finished = recall_finished(folder, until, inputs=inputs)
        if finished is None or (
            "targets" in finished.stages
            and not is_whole(folder.targets_path, teacher=finished.facts.get("targets_teacher"))
        ):
            return None
    kept = [StageOutcome(name, "kept", folder.stage(name).seconds) for name in finished.stages]
    return folder, finished, kept


def record_finished(
    stages: Stages,
    inputs: str | None,
    *,
    until: str,
    now: Callable[[], str],
    facts: Mapping[str, Any],
) -> None:
    """Leave word that a call did everything up to a stage, unless a file changed meanwhile.

    Args:
        stages: Of the call, all of them ended.
        inputs: The fingerprint of everything the recipe names, from before anything was read.
        until: The last stage that was asked for.
        now: Takes that fingerprint again.
        facts: What the next call shows without reading data; see `find_finished`.
    """
    if inputs is not None and known_inputs(now) == inputs:
        remember_finished(stages.folder, until, stages.finished(inputs, facts))
