"""Whether a run folder still holds what its stages left there: `tutelage verify`.

In: a run folder. Out: for every stage what it left and each file that is not what it was. Nothing
is changed; `tutelage run` makes again what is damaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import RunIncomplete, TargetsError
from tutelage.runs import RunFolder, Stage, lock, recorded
from tutelage.runs.endings import broken_endings
from tutelage.targets import verify as verify_store
from tutelage.types import Progress


@dataclass(frozen=True, slots=True)
class StageCheck:
    """What became of what one stage left."""

    name: str
    files: int
    """How many it left; of soft targets, those beside the parts."""
    bytes: int
    """Their size when they were written."""
    problems: tuple[str, ...]
    """Each file that is not what it was, in words."""
    has_sums: bool
    """False where a version finished it that kept no checksums."""


@dataclass(frozen=True, slots=True)
class RunCheck:
    """A run folder, compared with its records."""

    path: Path
    stages: tuple[StageCheck, ...]

    @property
    def problems(self) -> list[str]:
        """Of all stages."""
        return [problem for stage in self.stages for problem in stage.problems]

    @property
    def without_sums(self) -> list[str]:
        """Stages of which nobody can say whether their files are what they were."""
        return [stage.name for stage in self.stages if not stage.has_sums]


def verify_run(path: Path, *, progress: Progress) -> RunCheck:
    """Compare every file of a run with the size and SHA-256 that its stage recorded; soft targets
    are checked part by part, as `tutelage targets verify` does.

    Args:
        path: The run folder.
        progress: Where the bar goes.

    Raises:
        RunIncomplete: It is no run folder.
        RunExists: Another process is at work there.
    """
    stages = recorded(path) if path.is_dir() else []
    if not stages:
        raise RunIncomplete(
            f"{path} has no records of stages (.stages/*.json), so it is no run folder. Give one, "
            "for instance runs/recipe"
        )
    with (
        lock(path, reading=True),
        progress.bar("Verifying", total=len(stages), unit="stages") as advance,
    ):
        found = []
        for stage in stages:
            found.append(_checked(stage))
            advance(1)
        if broken := broken_endings(RunFolder(path)):
            found.append(StageCheck("records", len(broken), 0, tuple(broken), has_sums=True))
    return RunCheck(path, tuple(found))


def _checked(stage: Stage) -> StageCheck:
    if (later := stage.later_format) is not None:
        return StageCheck(stage.name, 0, 0, (later,), has_sums=True)
    if stage.state == "broken":
        words = f"{stage.path.relative_to(stage.run).as_posix()} cannot be read as a record"
        return StageCheck(stage.name, 0, 0, (words,), has_sums=True)
    problems = [str(damage) for damage in stage.damages()]
    if stage.name == "targets" and not problems:
        problems = _of_store(stage.run / "targets")
    sums = stage.sums.values()
    size = sum(known["bytes"] for known in sums)
    return StageCheck(
        stage.name, len(sums), size, tuple(problems), has_sums=stage.state == "summed"
    )


def _of_store(folder: Path) -> list[str]:
    if not (folder / "manifest.json").is_file():  # targets in a form that only a task knows
        return []
    try:
        return verify_store(folder)
    except TargetsError as error:
        return [str(error)]
