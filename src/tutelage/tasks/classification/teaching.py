"""The teacher of a classification recipe: fitted or prompted, saved in the run, loaded when it is
asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.data import Prepared
from tutelage.errors import ModelError
from tutelage.runs import fingerprint
from tutelage.runs.stages import STAGE_VERSION
from tutelage.tasks.classification.recipe import Recipe
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.models import LanguageModel, ModelFacts
    from tutelage.teachers import ClassifierTeacher, PromptedTeacher
    from tutelage.teachers.classifier.folder import Description

_CALIBRATION = "calibration.json"


def saved_teacher(recipe: Recipe) -> Description | None:
    """What the recipe's model is, if it is the folder of a teacher that was saved and is used as it
    is.

    Returns:
        Its description; None for a language model or for a classifier that tutelage did not save.

    Raises:
        ModelError: The teacher answers with other labels, or runs code that the recipe does not
            allow.
    """
    from tutelage.teachers.classifier.folder import is_saved_teacher, read_description

    section = recipe.teacher
    folder = str(section.model)
    if section.kind != "classifier" or section.fit.method != "none" or not is_saved_teacher(folder):
        return None
    description = read_description(Path(folder))
    if description.labels != recipe.task.labels:
        raise ModelError(
            f"{folder} is a saved teacher for the labels {list(description.labels)}, but "
            "task.labels are "
            f"{list(recipe.task.labels)}: write the same labels in the same order, or fit a "
            "teacher for these"
        )
    if description.trust_remote_code and not section.trust_remote_code:
        raise ModelError(
            f"{folder} is a saved teacher on {description.model}, which brings code of its own: "
            "read that code, then "
            "set teacher.trust_remote_code to true, or take another teacher"
        )
    return description


def teacher_model(recipe: Recipe) -> str:
    """The name of the teacher's language model: the recipe's, or the one that a saved teacher
    stands on.

    Raises:
        ModelError: As for `saved_teacher`.
    """
    saved = saved_teacher(recipe)
    return str(recipe.teacher.model) if saved is None or saved.method == "full" else saved.model


def teacher_facts(recipe: Recipe) -> ModelFacts:
    """Size and shape of the teacher's language model, from files' headers.

    Raises:
        ModelError: The model is not there or cannot be read, or is a fitted classifier for other
            labels.
    """
    from tutelage.models import model_facts

    section = recipe.teacher
    model = teacher_model(recipe)
    if (
        section.kind == "classifier"
        and section.fit.method == "none"
        and saved_teacher(recipe) is None
    ):
        _require_labels(recipe, model)
    return model_facts(model, trust_remote_code=section.trust_remote_code)


def _require_labels(recipe: Recipe, model: str) -> None:
    """Refuse a fitted classifier whose configuration names other classes; their order may
    differ.
    """
    from tutelage.models.reading import read_config

    config = read_config(model, trust_remote_code=recipe.teacher.trust_remote_code)
    names = sorted(map(str, config.id2label.values()))
    if names != sorted(recipe.task.labels):
        raise ModelError(
            f"{model} classifies as {names}, but task.labels are {list(recipe.task.labels)}: name "
            "the labels as the "
            "model does, correct id2label in its config.json, or let it be fitted (fit: {method: "
            "head})"
        )


def teacher_fingerprint(recipe: Recipe, data: Prepared) -> str:
    """The fingerprint of what the teacher depends on: its weights, its section, the rows it is
    fitted to.

    Raises:
        ModelError: The model is not there, or is a saved teacher that cannot be used here.
    """
    from tutelage.models import model_fingerprint
    from tutelage.teachers.classifier.folder import saved_teacher_fingerprint
    from tutelage.teachers.prompted.teacher import CALIBRATION_ROWS

    section = recipe.teacher
    uses_train = section.kind == "prompted" or section.fit.method != "none"
    rows = [(example.example_id, example.label) for example in data.train] if uses_train else []
    groups = data.train_groups if uses_train else None
    if saved_teacher(recipe) is None:
        weights = model_fingerprint(str(section.model), trust_remote_code=section.trust_remote_code)
    else:
        weights = saved_teacher_fingerprint(Path(str(section.model)))
    sampled = section.kind == "prompted" and section.calibration in ("batch", "fitted")
    return fingerprint(
        "teacher",
        STAGE_VERSION,
        section.model_dump(exclude={"model", "batch_tokens"}),
        weights,
        recipe.task.labels,
        rows,
        groups,
        *([CALIBRATION_ROWS] if sampled else []),
    )


def fit_teacher(
    recipe: Recipe, data: Prepared, *, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Make the teacher and save it in `out`.

    A classifier is fitted to the labelled training rows; a prompted teacher draws its shots and is
    calibrated.

    Returns:
        Facts for provenance: kind, model, fingerprint, parameters, description.
    """
    from tutelage.teachers import ClassifierTeacher

    shutil.rmtree(
        out, ignore_errors=True
    )  # its files may be links into another run: never written into
    out.mkdir(parents=True)
    if recipe.teacher.kind == "prompted":
        teacher = _prompted(recipe, data)
        if recipe.teacher.calibration in ("batch", "fitted"):
            teacher.calibrate(data.train, progress=progress)
        assert teacher.calibration is not None
        teacher.calibration.save(out / _CALIBRATION)
        description = (
            f"prompted, {recipe.teacher.shots} shots, calibration {recipe.teacher.calibration}"
        )
        if teacher.calibration.rows:
            description += f" on {teacher.calibration.rows} texts"
    else:
        teacher = _classifier(recipe, data, progress=progress)
        teacher.save(out)
        description = f"classifier, fit: {recipe.teacher.fit.method}"
        if recipe.teacher.fit.method == "head":
            assert isinstance(teacher, ClassifierTeacher)
            description += f" on layers {', '.join(map(str, teacher.description.layers))}"
    return {
        "kind": recipe.teacher.kind,
        "model": str(recipe.teacher.model),
        "teacher_fingerprint": teacher.fingerprint,
        "parameters": int(teacher.parameters),
        "description": description,
    }


def load_teacher(
    recipe: Recipe, data: Prepared, folder: Path
) -> ClassifierTeacher | PromptedTeacher:
    """The teacher that `fit_teacher` saved.

    Raises:
        ModelError: The folder or the weights below it are not what they were.
    """
    from tutelage.teachers import Calibration, ClassifierTeacher

    if recipe.teacher.kind == "prompted":
        return _prompted(recipe, data, Calibration.load(folder / _CALIBRATION))
    return ClassifierTeacher.load(folder, batch_tokens=recipe.teacher.batch_tokens)


def _language_model(recipe: Recipe, head: Any, labels: tuple[str, ...] = ()) -> LanguageModel:
    from tutelage.models import load_language_model

    section = recipe.teacher
    return load_language_model(
        str(section.model),
        dtype=section.dtype,
        trust_remote_code=section.trust_remote_code,
        head=head,
        labels=labels,
    )


def prompt_options(recipe: Recipe, data: Prepared) -> dict[str, Any]:
    """What the prompt of a prompted teacher is made of: keyword arguments of `build_question` and
    of the teacher.

    Raises:
        ModelError: There are not enough labelled rows for the shots.
    """
    from tutelage.teachers import draw_shots

    section = recipe.teacher
    assert section.kind == "prompted"
    count, num_classes = section.shots, len(recipe.task.labels)
    return {
        "instruction": section.instruction,
        "template": section.template,
        "verbalizers": section.verbalizers,
        "chat": section.chat,
        "shots": draw_shots(data.train, count, num_classes=num_classes, seed=section.seed)
        if count
        else [],
        "max_length": section.max_length,
    }


def _prompted(recipe: Recipe, data: Prepared, calibration: Any = None) -> PromptedTeacher:
    from tutelage.teachers import PromptedTeacher

    section = recipe.teacher
    assert section.kind == "prompted"
    return PromptedTeacher(
        _language_model(recipe, "causal_lm"),
        recipe.task.labels,
        calibration=calibration if calibration is not None else section.calibration,
        batch_tokens=section.batch_tokens,
        **prompt_options(recipe, data),
    )


def _classifier(recipe: Recipe, data: Prepared, *, progress: Progress) -> ClassifierTeacher:
    from tutelage.teachers import ClassifierTeacher

    section = recipe.teacher
    assert section.kind == "classifier"
    options = section.fit.model_dump()
    method = options.pop("method")
    labels = recipe.task.labels
    if saved_teacher(recipe) is not None:
        return ClassifierTeacher.load(str(section.model), batch_tokens=section.batch_tokens)
    fresh = labels if method in ("lora", "full") else ()
    return ClassifierTeacher.fit(
        _language_model(recipe, "backbone" if method == "head" else "sequence", fresh),
        labels,
        data.train,
        method=method,
        **options,
        batch_tokens=section.batch_tokens,
        max_length=section.max_length,
        groups=data.train_groups,
        trust_remote_code=section.trust_remote_code,
        seed=recipe.teacher.seed,
        progress=progress,
    )
