"""One student: built, trained on soft targets (or on labels alone, as a control), saved.

In: a student's specification, examples, a store of soft targets. Out: a model folder in the
`save_pretrained` layout with its metrics beside it. The recipe and the Python call
`tutelage.distill` share this one path.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.errors import DataError
from tutelage.losses import Objective
from tutelage.processes import crew
from tutelage.runs import MetricsLog
from tutelage.students import save
from tutelage.students.classifier.student import FittedStudent, MatchesStates, TrainedInPart
from tutelage.targets import TargetStore
from tutelage.train import TrainResult, TrainSettings, train_classifier
from tutelage.train.steps.classes.rows import training_rows, validation_rows
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.data.examples.collate import EncodedSet
    from tutelage.models import LanguageModel
    from tutelage.students.classifier.student import ClassifierStudent


@dataclass(frozen=True)
class Distilled:
    """A trained student and where it lies."""

    model: Any
    tokenizer: Any
    """None where the model reads texts itself."""
    folder: Path
    result: TrainResult


def distill(
    student: ClassifierStudent,
    examples: Sequence[Example],
    store: TargetStore | None,
    *,
    validation: Sequence[Example] = (),
    objective: Objective | None = None,
    settings: TrainSettings | None = None,
    out: Path | str = "student",
    language_model: LanguageModel | None = None,
    vocabulary_texts: Sequence[str] | None = None,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> Distilled:
    """Train one student and save it.

    A second call with the same arguments after a kill goes on from the last checkpoint in `out`.

    Args:
        student: What to build, for instance `tutelage.students.RNN(labels=labels)`.
        examples: The transfer set. Labelled rows also carry the hard term; the others learn from
            the teacher alone.
        store: Soft targets of every example; None trains on labels alone (the control).
        validation: Rows that choose the best epoch; empty means a seeded tenth of the examples.
        objective: Divergence and its mix with hard labels; None means `Objective()`, forward KL.
        settings: How long and how fast; None means `TrainSettings()`.
        out: Folder for the model, `metrics.jsonl` and, while training, `checkpoints/`.
        language_model: The teacher's language model, for `embeddings: teacher`.
        vocabulary_texts: Texts the student's own vocabulary is trained on; None means the examples'
            texts.
        cache: Folder where the teacher's vectors of the student's tokens are kept for the next
            student.
        progress: Where bars go.

    Returns:
        The trained model with its best weights, already saved in `out`.

    Raises:
        TargetsIncomplete: The store lacks an example; it is named.
        DataError: There is nothing to train on.
        ValueError: The objective has a `soft_weight_final`.
        TrainingDiverged: The loss is not a number or exploded.

    Example:
        >>> import tutelage as tl  # doctest: +SKIP
        >>> tl.distill(tl.students.RNN(labels=labels), examples, store, out="students/rnn")  #
        doctest: +SKIP
    """
    objective = objective or Objective()
    if objective.soft_weight_final is not None:
        raise ValueError(
            f"soft_weight_final={objective.soft_weight_final} given; the weight of a classifier's "
            "soft targets stays as it is: leave it out"
        )
    settings = settings or TrainSettings()
    out = Path(out)
    if not validation:
        from tutelage.data import split

        rows, held_out = split(list(examples), None, 0.1, seed=settings.seed)
        examples, validation = [examples[row] for row in rows], [examples[row] for row in held_out]
    if not examples or not validation:
        raise DataError(
            f"{len(examples)} training and {len(validation)} validation rows given: both must be "
            "there"
        )
    texts = [example.text for example in examples] if vocabulary_texts is None else vocabulary_texts
    mine = crew()
    with mine.leader_first():  # what it makes of the teacher is in the cache then
        model, tokenizer = student.build(
            texts, language_model=language_model, seed=settings.seed, cache=cache, progress=progress
        )
    matching = None
    if store is not None and isinstance(student, MatchesStates):
        matching = student.matching(model, tokenizer, language_model=language_model)
    del language_model  # whose memory may be needed now; the caller keeps it who wants it
    train_set, validation_set = (
        encode(tokenizer, examples, store),
        encode(tokenizer, validation, store),
    )
    if isinstance(student, FittedStudent):
        return _fit(
            student,
            model,
            training_rows(train_set, use_teacher=store is not None),
            validation_rows(validation_set, use_teacher=store is not None),
            objective=objective,
            out=out,
            progress=progress,
        )
    result = train_classifier(
        model,
        tokenizer.pad_token_id,
        train_set,
        validation_set,
        objective=objective,
        settings=settings,
        out=out,
        use_teacher=store is not None,
        unknown_id=tokenizer.mask_token_id
        if tokenizer.mask_token_id is not None
        else tokenizer.unk_token_id,
        learning_rates=student.learning_rates(model) if isinstance(student, TrainedInPart) else {},
        matching=matching,
        progress=progress,
        title=f"Training {out.parent.name}/{out.name}",
    )
    if isinstance(student, TrainedInPart):
        model = student.finished(model)
    if mine.leads:
        save(model, tokenizer, out)
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    mine.wait()
    return Distilled(model, tokenizer, out, result)


def _fit(
    student: FittedStudent,
    model: Any,
    train_set: EncodedSet,
    validation_set: EncodedSet,
    *,
    objective: Objective,
    out: Path,
    progress: Progress,
) -> Distilled:
    """Fit a student that does it by itself, and save it; after a kill it begins anew. Of several
    processes the first does it, and the others have the model as it was.
    """
    mine = crew()
    if not mine.leads:
        return Distilled(model, None, out, mine.told())
    started = time.monotonic()
    log = MetricsLog(out / "metrics.jsonl")
    log.truncate_after(-1)
    fitted = student.fit(
        model,
        train_set,
        validation_set,
        objective=objective,
        record=log.append,
        progress=progress,
    )
    fitted.model.save(out)
    seconds = time.monotonic() - started
    result = TrainResult(fitted.best_step, fitted.best_validation_loss, fitted.steps, seconds)
    mine.told(result)
    return Distilled(fitted.model, None, out, result)


def encode(tokenizer: Any, examples: Sequence[Example], store: TargetStore | None) -> EncodedSet:
    """Token ids, labels and soft targets of examples, row by row.

    Args:
        tokenizer: The student's; truncates at its `model_max_length`.
        examples: N rows.
        store: Where their soft targets lie; None leaves them out.

    Returns:
        N rows, labels -100 where nobody labelled.
    """
    from tutelage.data.examples.collate import EncodedSet

    texts = [example.text for example in examples]
    # Control tokens that a text spells are text.
    input_ids = tokenizer(texts, truncation=True, split_special_tokens=True)["input_ids"]
    labels = np.array(
        [-100 if example.label is None else example.label for example in examples], dtype=np.int64
    )
    probs = None if store is None else store.lookup([example.example_id for example in examples])
    return EncodedSet(input_ids=input_ids, labels=labels, teacher_probs=probs)
