"""What speaks against believing or using the result of a language-model run, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tutelage import metrics
from tutelage.report import formats
from tutelage.report.measures import Evaluation
from tutelage.report.reading import Records
from tutelage.report.verdict import calibration_caution, poorly_calibrated
from tutelage.tasks.language.report.scores import DocumentScores
from tutelage.tasks.language.report.sentences import signed_nats

_FEW_DOCUMENTS = 30
"""Below this many documents, resampling them says little about documents that were not drawn."""
_LOW_AGREEMENT = 0.5


def find_cautions(records: Records[DocumentScores]) -> list[str]:
    """What speaks against believing or using the result."""
    evaluation = records.evaluation
    students: Mapping[str, Any] = evaluation["students"]
    cautions: list[str] = []
    if evaluation["documents"] < _FEW_DOCUMENTS:
        cautions.append(
            f"Only {formats.plural(evaluation['documents'], 'test document')}: the intervals "
            "themselves are uncertain. More test documents would narrow them."
        )
    cautions += _weak_teacher(records)
    if max(student["top1_agreement"]["value"] for student in students.values()) < _LOW_AGREEMENT:
        cautions.append(
            "No student shares the teacher’s first choice on even half of the tokens: what it "
            "writes will differ from what the teacher writes. Read the samples before you rely on "
            "one."
        )
    cautions += _short_training(evaluation)
    unfinished = [name for name, rows in records.student_curves.items() if _still_falling(rows)]
    if unfinished:
        cautions.append(
            f"The validation loss was still falling when training ended: {', '.join(unfinished)}. "
            "Longer training may give more."
        )
    return cautions + calibration_caution(
        "Probabilities are not to be taken at their word", poorly_calibrated(evaluation)
    )


def _weak_teacher(records: Records[DocumentScores]) -> list[str]:
    """The best control, if it predicts the text as well as the teacher: there is little to learn
    from it then.
    """
    scores, bootstrap = records.predictions, records.evaluation.get("bootstrap") or {}
    if not scores.controls:
        return []
    name, control = min(
        scores.controls.items(), key=lambda item: float((item[1] * scores.tokens).sum())
    )
    interval = metrics.ratio_interval(
        np.bincount(scores.units, weights=(scores.teacher - control) * scores.tokens),
        np.bincount(scores.units, weights=scores.tokens),
        samples=int(bootstrap.get("samples", 2000)),
        seed=int(bootstrap.get("seed", 0)),
    )
    if interval.high < 0:
        return []
    than = (
        "predicts these texts less well than"
        if interval.low > 0
        else "is not clearly better at these texts than"
    )
    return [
        f"The teacher itself {than} “{name}” trained on the text alone (teacher minus control "
        f"{signed_nats(interval.as_dict())}): a teacher that knows such texts better comes first."
    ]


def _short_training(evaluation: Evaluation) -> list[str]:
    """Students that read fewer tokens than they have parameters."""
    training = (evaluation.get("training") or {}).get("students", {})
    short = [
        name
        for name, facts in training.items()
        if facts.get("parameters") and facts.get("tokens", 0) < facts["parameters"]
    ]
    if not short:
        return []
    most = max(training[name]["tokens"] for name in short)
    return [
        f"Short training: {', '.join(short)} read at most {formats.magnitude(most)} tokens, fewer "
        "than one for each parameter. The numbers speak of this training, not of what such "
        "networks can reach with more text."
    ]


def _still_falling(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last of three or more validation losses is the lowest, by more than a hair."""
    losses = [row["validation_loss"] for row in rows if row.get("validation_loss") is not None]
    return len(losses) >= 3 and losses[-1] < 0.998 * min(losses[:-1])
