"""What a run was made of: versions, machine, seeds, fingerprints, data, warnings, time per
stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.data import Prepared, PreparedDocuments
from tutelage.runs import RunFolder, atomic_write_json, provenance
from tutelage.runs.stages import StageOutcome
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.language.recipe import LanguageRecipe


def write_provenance(
    recipe: Recipe | LanguageRecipe,
    folder: RunFolder,
    data: Prepared | PreparedDocuments,
    fingerprints: Mapping[str, str],
    *,
    seconds: Sequence[StageOutcome],
) -> dict[str, Any]:
    """Write provenance.json and give its content."""
    record = {
        **provenance(),
        "name": recipe.name,
        "seed": recipe.train.seed,
        "fingerprints": dict(fingerprints),
        "data": data.facts,
        "warnings": [str(warning) for warning in data.warnings],
        "seconds": {stage.name: round(stage.seconds, 3) for stage in seconds},
        "teacher": dict(folder.stage("teacher").facts),
    }
    atomic_write_json(folder.provenance_path, record)
    return record
