"""The students of a causal_lm recipe, each trained on soft targets and, as a control, on the text
alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.data import PreparedDocuments
from tutelage.models import (
    load_language_student,
    load_tokenizer,
)
from tutelage.models.reading import padding_id
from tutelage.processes import crew
from tutelage.runs import RunFolder, fingerprint, seed_sequence
from tutelage.runs.stages import STAGE_VERSION, Deferred
from tutelage.students import (
    TeacherView,
    VocabularyMap,
    add_lora,
    merge_lora,
    save_model,
    trim_vocabulary,
)
from tutelage.tasks.language.data import (
    assignment_of,
    documents_fingerprint,
    teacher_spec,
    teacher_tokenizer,
)
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.teachers.teacher import HiddenStates, OwnWeights, device_of
from tutelage.train import LanguageTrainSettings, TargetSource, train_language_model
from tutelage.train.steps.tokens.targets import TrimmedTargets
from tutelage.types import SILENT, Progress

CALIBRATION_TOKENS = 4096
"""Tokens of the training text on which a pruned student's parts are ranked."""
CHECKED_TEXTS = 50
"""Training documents that a trimmed tokenizer must encode as the whole one does."""


def language_student_fingerprint(
    recipe: LanguageRecipe, name: str, targets_print: str, data: PreparedDocuments, *, control: bool
) -> str:
    """The fingerprint of what a trained student depends on.

    A control does not depend on the soft targets, only on the teacher that it may be cut from, and
    where a server tells them on the documents that it answered for; nobody depends on the test
    documents.
    """
    student, teacher = recipe.students[name], teacher_spec(recipe)
    weights = student.spec().starts_from()
    is_part = not teacher.has_weights and recipe.targets.kind != "text"
    made_from = teacher.weights(assignment_of(recipe)) if control and not is_part else targets_print
    return fingerprint(
        "language student",
        STAGE_VERSION, weights, control, made_from, student, recipe.task,
        documents_fingerprint(data.train, data.validation),
        recipe.train_for(name), recipe.objective_for(name),
    )  # fmt: skip


def train_language_student(
    recipe: LanguageRecipe,
    name: str,
    folder: RunFolder,
    data: PreparedDocuments,
    source: TargetSource | None,
    teacher: Deferred[HiddenStates | None],
    *,
    control: bool,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train one student, or its control, and save it in the run.

    A control sees the same initial weights, documents, order and number of steps; only the loss is
    the cross-entropy to the text alone. Where a teacher wrote the text, its documents are others.

    Args:
        recipe: The recipe.
        name: Which student.
        folder: The run.
        data: Its documents.
        source: Where soft targets come from; None: there are none, the text is learned alone.
        teacher: Loaded if the student is made from its weights.
        control: Whether it is the control.
        progress: Where bars and talk go.

    Returns:
        Facts for the stage: best step, best validation loss, steps.
    """
    out = (folder.controls_path if control else folder.students_path) / name
    spec = recipe.students[name].spec()
    tokenizer = teacher_tokenizer(recipe)
    model = build_language_student(recipe, name, data, teacher, tokenizer, progress=progress)
    whole = teacher_vocabulary(recipe, tokenizer)
    vocabulary, padding = whole, padding_id(tokenizer, whole)
    train, validation = data.train, data.validation
    if spec.trims_vocabulary:
        model, trimmed = trim_to_documents(model, tokenizer, data)
        tokens = VocabularyMap(tokenizer, trimmed)
        tokenizer, vocabulary, padding = trimmed, len(tokens.kept), int(trimmed.pad_token_id)
        progress.say(f"{name}: {vocabulary:,} of {whole:,} tokens are kept")
        train = [tokens.document(document) for document in train]
        validation = [tokens.document(document) for document in validation]
        source = None if source is None else TrimmedTargets(source, tokens)
    if spec.lora is not None:
        seed = seed_sequence(recipe.train.seed, "lora", name)
        model = add_lora(model, rank=spec.lora.rank, alpha=spec.lora.alpha, seed=seed)
    if recipe.targets.kind != "live":
        teacher.release()  # its answers are stored: nobody asks it while students train
    result = train_language_model(
        model,
        padding,
        train,
        validation,
        source=source,
        objective=recipe.objective_for(name).spec(),
        hidden_weight=spec.hidden_weight,
        settings=settings_of(recipe, name),
        out=out,
        vocabulary=vocabulary,
        progress=progress,
        title=f"Training {name} on the text alone" if control else f"Training {name}",
    )
    if spec.lora is not None:
        model = merge_lora(model)
    mine = crew()
    if mine.leads:
        save_model(model, tokenizer, out)
    mine.wait()
    return {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_validation_loss": result.best_validation_loss,
        "training_seconds": result.seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def build_language_student(
    recipe: LanguageRecipe,
    name: str,
    data: PreparedDocuments,
    teacher: Deferred[HiddenStates | None],
    tokenizer: Any,
    *,
    progress: Progress = SILENT,
) -> Any:
    """A student over the teacher's vocabulary as it is before its first step; the same recipe gives
    the same weights.

    Args:
        recipe: The recipe.
        name: Which student.
        data: Text for ranking what is pruned.
        teacher: Loaded if the student is made from its weights.
        tokenizer: The teacher's.
        progress: Told what takes time.
    """
    spec, language_model = recipe.students[name].spec(), None
    if spec.needs_weights:
        made_from = teacher.get()
        assert isinstance(made_from, OwnWeights)  # the check refuses a teacher without
        language_model = made_from.language_model
    return spec.build(
        tokenizer,
        sequence_length=recipe.task.sequence_length,
        language_model=language_model,
        calibration=calibration_ids(data) if spec.needs_weights else (),
        seed=seed_sequence(recipe.train.seed, "student", name),
        say=lambda text: progress.say(f"{name}: {text}"),
    )


def teacher_vocabulary(recipe: LanguageRecipe, tokenizer: Any) -> int:
    """How many tokens the teacher speaks of, told without its weights."""
    config = teacher_spec(recipe).config()
    return min(len(tokenizer), config.vocab_size)


def used_ids(data: PreparedDocuments) -> NDArray[np.int64]:
    """The teacher's ids in documents that are learned from or that choose the best weights; not
    those of the test.

    What the test documents use beyond these would say something about them.
    """
    parts = [document.token_ids for document in (*data.train, *data.validation)]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *parts])).astype(np.int64)


def trim_to_documents(model: Any, tokenizer: Any, data: PreparedDocuments) -> tuple[Any, Any]:
    """A student and its tokenizer with only the tokens that the documents and the tokenizer itself
    need.

    Args:
        model: Over the teacher's vocabulary.
        tokenizer: The teacher's.
        data: The documents.

    Returns:
        Both, smaller.

    Raises:
        ModelError: The tokenizer cannot be trimmed, or the smaller one reads some text of the
            documents differently.
    """
    ids = used_ids(data)
    known = set(ids.tolist())
    texts = [tokenizer.decode(document.token_ids) for document in data.train[:CHECKED_TEXTS]]
    # A piece of a long document may begin inside a word, and then is encoded into other tokens than
    # it was read as.
    texts = [text for text in texts if known.issuperset(tokenizer(text)["input_ids"])]
    smaller, trimmed, _ = trim_vocabulary(model, tokenizer, ids, texts=texts)
    return smaller, trimmed


def load_judged_student(
    recipe: LanguageRecipe, name: str, group: Path, teacher: HiddenStates | None
) -> Any:
    """A trained student, or a control, as evaluation asks it: in the teacher's ids.

    Args:
        recipe: Says whether its vocabulary was trimmed.
        name: Which student.
        group: The folder that holds its folder.
        teacher: Whose ids they are; None: it is elsewhere, and no student is trimmed.
    """
    folder = str(group / name)
    model = load_language_student(folder)
    if teacher is None:
        return model
    model = model.to(device_of(teacher))  # both are timed on the same device
    if not recipe.students[name].spec().trims_vocabulary:
        return model
    tokens = VocabularyMap(teacher.tokenizer, load_tokenizer(folder))
    return TeacherView(model, tokens, teacher_vocabulary=teacher.vocabulary)


def calibration_ids(data: PreparedDocuments) -> list[torch.Tensor]:
    """Some training documents as `[1, T]` ids."""
    chosen, read = [], 0
    for document in data.train:
        if read >= CALIBRATION_TOKENS:
            break
        chosen.append(torch.from_numpy(document.token_ids.astype("int64"))[None])
        read += len(document.token_ids)
    return chosen


def settings_of(recipe: LanguageRecipe, name: str) -> LanguageTrainSettings:
    """How one student is trained."""
    return recipe.train_for(name).spec(sequence_length=recipe.task.sequence_length)
