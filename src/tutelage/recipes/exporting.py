"""The export stages of a run: each student, not its control, in each format that the recipe asks
for.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tutelage.export import export, needs_work
from tutelage.runs import RunFolder, fingerprint
from tutelage.runs.stages import Stages
from tutelage.tasks.task import Student
from tutelage.types import Progress


def export_students(
    recipe: Any,
    students: Mapping[Student, str],
    folder: RunFolder,
    stages: Stages,
    progress: Progress,
) -> None:
    """Do what `export:` of a recipe says; a format that was made for the same weights is kept.

    Args:
        recipe: Its `export` names formats.
        students: What is trained, with the fingerprint of each.
        folder: The run.
        stages: Its stages.
        progress: Told what is written.
    """
    for student, student_print in students.items():
        for name in recipe.export:
            if not student.is_control and needs_work(name):
                place = folder.path / student.stage
                stages.do(
                    f"exports/{student.name}/{name}",
                    fingerprint("export", name, student_print),
                    work=partial(_written, name, place, progress),
                    leaves=place / "export" / name,
                )


def _written(name: str, student: Path, progress: Progress) -> Mapping[str, Any]:
    progress.say(f"{student.name}: writing {name}")
    out = student / "export" / name
    shutil.rmtree(out, ignore_errors=True)
    return export(name, student, out)
