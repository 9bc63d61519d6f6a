"""One teacher over a data set: its soft targets into a store, each distinct text once, resumable.

In: a teacher and examples. Out: a complete `TargetStore`. Longest texts go first, so that memory
runs out at once or not at all, and the time left is over- rather than underestimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.targets import TargetStore, TargetWriter
from tutelage.teachers.teacher import ClassProbabilities, LabelMass
from tutelage.types import SILENT, Example, Progress

_ROWS_AT_ONCE = 512
_MASS_SAMPLE = 64
_LITTLE_MASS = 0.2


def label(
    teacher: ClassProbabilities,
    examples: Sequence[Example],
    *,
    out: Path,
    seed: int = 0,
    progress: Progress = SILENT,
) -> TargetStore:
    """Let a teacher write soft targets for examples, into a store on disk.

    Each distinct text is asked about once. A call that was killed goes on where it was; a call on a
    finished store asks only about texts that it lacks.

    Args:
        teacher: Any teacher.
        examples: What to label, in any order, repeated texts allowed.
        out: Folder of the store.
        seed: Recorded in the store; class probabilities use no randomness.
        progress: Where the bar with the time left goes.

    Returns:
        The complete store.

    Raises:
        TargetsMismatch: `out` holds targets of another teacher or label list.
    """
    kind = "class_probabilities"
    with TargetWriter.open(
        out, kind=kind, teacher=teacher.fingerprint, labels=teacher.labels, seed=seed
    ) as writer:
        ids = [example.example_id for example in examples]
        missing = sorted(writer.missing(ids), key=lambda row: (-len(examples[row].text), ids[row]))
        if missing and isinstance(teacher, LabelMass):
            _report_mass(teacher, [examples[row] for row in missing], progress)
        with progress.bar("Labelling", total=len(missing), unit="texts") as advance:
            for start in range(0, len(missing), _ROWS_AT_ONCE):
                rows = missing[start : start + _ROWS_AT_ONCE]
                writer.add(
                    [ids[row] for row in rows], teacher.label([examples[row] for row in rows])
                )
                advance(len(rows))
        writer.finish()
    return TargetStore.open(out, teacher=teacher.fingerprint, labels=teacher.labels)


def _report_mass(teacher: LabelMass, examples: Sequence[Example], progress: Progress) -> None:
    """Say how much probability the labels get on a few texts, and warn if it is little."""
    sample = sorted(examples, key=lambda example: example.example_id)[:_MASS_SAMPLE]
    mass = float(teacher.label_mass(sample).mean())
    advice = (
        ""
        if mass >= _LITTLE_MASS
        else "; that is little: the model hardly answers with a label, so change the prompt"
    )
    progress.say(
        f"The teacher puts {mass:.0%} of its probability on the labels ({len(sample)} "
        f"texts){advice}"
    )
