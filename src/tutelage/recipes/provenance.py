"""What a run was made of: versions, machine, seeds, fingerprints, data, warnings, time per
stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.runs import RunFolder, atomic_write_json, provenance
from tutelage.runs.stages import StageOutcome
from tutelage.tasks.task import Job


def write_provenance(
    recipe: Any, folder: RunFolder, job: Job, *, seconds: Sequence[StageOutcome]
) -> dict[str, Any]:
    """Write provenance.json and give its content.

    Args:
        recipe: The recipe.
        folder: The run.
        job: Says what its data and stages are.
        seconds: What became of each stage, and how long it took.
    """
    prints = job.fingerprints
    record = {
        **provenance(),
        "name": recipe.name,
        "seed": recipe.train.seed,
        "fingerprints": {
            "teacher": prints.teacher,
            "targets": prints.targets,
            "evaluation": prints.evaluation,
        },
        "data": job.data_facts,
        "warnings": [str(warning) for warning in job.warnings],
        "seconds": {stage.name: round(stage.seconds, 3) for stage in seconds},
        "teacher": dict(folder.stage("teacher").facts),
    }
    atomic_write_json(folder.provenance_path, record)
    return record
