"""A second call on a finished recipe: found finished from records, without data, tokens or torch.

In: a recipe and the fingerprint of everything that it names. Out: the run that is finished, or
nothing, and then the flow looks at everything itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.config import dump_recipe
from tutelage.errors import RunExists, TargetsError, TutelageError
from tutelage.runs import (
    Finished,
    RunFolder,
    lock,
    open_run,
    recall_finished,
    remember_finished,
)
from tutelage.runs.stages import StageOutcome, Stages
from tutelage.targets import read_manifest
from tutelage.targets.resuming import open_whole


@dataclass(frozen=True)
class FinishedRun:
    """A run in which nothing is left to do."""

    folder: RunFolder
    stages: Sequence[StageOutcome]
    """Each of them kept."""
    warnings: Sequence[str]
    """What the call that did the work said of the data."""
    quality: dict[str, Any]
    """What it knew of the teacher."""

    @property
    def talk(self) -> list[str]:
        """What that call told the person, and this one repeats."""
        sentence = [self.quality["sentence"]] if self.quality else []
        return [*(f"warning: {warning}" for warning in self.warnings), *sentence]


def known_inputs(inputs: Callable[[], str]) -> str | None:
    """The fingerprint of a run's inputs; None where one cannot be read, which the flow reports."""
    try:
        return inputs()
    except (OSError, TutelageError):
        return None


def find_finished(
    recipe: Any, inputs: str | None, *, out: Path | None, root: Path, until: str
) -> FinishedRun | None:
    """The run of this recipe, if a call up to the same stage ended with these very inputs and all
    that it made is still there; the checksums of its targets are verified, once.

    Args:
        recipe: From `load_recipe`.
        inputs: The fingerprint of the recipe and of every file that it names.
        out: Run folder; None looks for it as `open_run` does.
        root: Where runs lie.
        until: The last stage that is asked for.

    Returns:
        None where anything is to be done.

    Raises:
        RunExists: Another process is at work in the folder.
    """
    if inputs is None:
        return None
    try:
        folder = open_run(root, recipe.name, dump_recipe(recipe), out=out)
    except RunExists:  # said by the flow, after what may be wrong with the data
        return None
    if recall_finished(folder, until, inputs=inputs) is None:
        return None
    with lock(folder.path, reading=True):
        finished = recall_finished(folder, until, inputs=inputs)
        if finished is None or not _undamaged(folder, finished, dump_recipe(recipe)):
            return None
        facts = finished.facts
        # Of targets that are no store of ours, that they are there is known already.
        teacher = facts["targets_teacher"]
        stored = "targets" in finished.stages and teacher is not None
        if stored and open_whole(folder.targets_path, teacher=teacher) is None:
            return None
    kept = [StageOutcome(name, "kept", folder.stage(name).seconds) for name in finished.stages]
    return FinishedRun(folder, kept, tuple(facts["warnings"]), facts["quality"])


def _undamaged(folder: RunFolder, finished: Finished, recipe_text: str) -> bool:
    """Whether every file is what its stage left. Stages of an earlier version, without sums, are
    looked at by the flow, which gives them some.
    """
    if folder.recipe_record.copies.get(folder.recipe_path.name) != recipe_text:
        return False
    stages = [folder.recipe_record, *(folder.stage(name) for name in finished.stages)]
    if folder.provenance_path.name in finished.files:
        stages.append(folder.stage("provenance"))
    return all(stage.state == "summed" for stage in stages) and not any(
        damage.matters for stage in stages for damage in stage.damages()
    )


def record_finished(
    stages: Stages,
    inputs: str | None,
    *,
    until: str,
    now: Callable[[], str],
    warnings: Sequence[str],
    quality: dict[str, Any],
) -> None:
    """Leave word that a call did everything up to a stage, unless a file changed meanwhile.

    Args:
        stages: Of the call, all of them ended.
        inputs: The fingerprint of everything the recipe names, from before anything was read.
        until: The last stage that was asked for.
        now: Takes that fingerprint again.
        warnings: About the data.
        quality: What is known of the teacher.
    """
    if inputs is None or known_inputs(now) != inputs:
        return
    try:
        teacher = read_manifest(stages.folder.targets_path).teacher
    except TargetsError:  # nothing is stored, or in a form that only the task knows
        teacher = None
    facts = {"warnings": list(warnings), "quality": quality, "targets_teacher": teacher}
    remember_finished(stages.folder, until, stages.finished(inputs, facts))
