"""`tutelage check`: every problem of a recipe and its data at once, and what a run would take.

In: a recipe. Out: problems, and an estimate of time and disk. Nothing is trained, converted or
written.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.data import Prepared
from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory, Problem
from tutelage.runs import RunFolder, cache_folder
from tutelage.tasks.classification.data import read_data
from tutelage.tasks.classification.prompt_checking import find_question, prompt_tokens, rough_tokens
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teachers import FullFit, HeadFit, LoraFit, NoFit
from tutelage.tasks.classification.teaching import saved_teacher, teacher_facts
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.teachers.prompted.questions import Question

DISK_MARGIN = 1.2


@dataclass(frozen=True)
class Check:
    """What `check` found."""

    problems: Sequence[Problem]
    """Errors and warnings."""
    estimate: dict[str, Any]
    """`teacher_seconds`, `training_seconds`, `disk_bytes`, `free_disk_bytes`, `teacher_tokens`,
    `steps`; empty if the data or the model cannot be read."""
    summary: str
    """The estimate in words."""


def check_recipe(
    recipe: Recipe, *, root: Path = Path("runs"), progress: Progress = SILENT
) -> Check:
    """Validate data and models of a recipe that loaded, and estimate time and disk.

    Args:
        recipe: From `tutelage.load_recipe`, which has checked the file itself.
        root: Where the run would be written.
        progress: Told what is being looked at.

    Returns:
        Every problem found, and an estimate, rough on purpose: within a factor of two on a quiet
        machine.
    """
    from tutelage.tasks.classification.student_checking import student_problems

    progress.say("Reading data")
    data, problems = read_data(recipe)
    facts = None
    try:
        facts = teacher_facts(recipe)
    except ModelError as error:
        problems.append(Problem("teacher.model", str(error)))
    problems += student_problems(recipe, facts)
    question = None
    if data is not None and facts is not None:
        question, refused = find_question(recipe, data)
        problems += refused
    if data is None or any(problem.severity == "error" for problem in problems):
        return Check(problems, {}, "")
    estimate = estimate_run(recipe, data, facts, question, root=root)
    try:
        require_disk(estimate)
    except NotEnoughDisk as error:
        problems.append(Problem(str(root), str(error)))
    return Check(problems, estimate, describe(recipe, data, estimate))


def estimate_run(
    recipe: Recipe,
    data: Prepared,
    facts: ModelFacts | None,
    question: Question | None = None,
    *,
    root: Path,
) -> dict[str, Any]:
    """Rough time and disk of a run on this machine.

    The teacher multiplies each token with each of its weights once (two operations a weight), those
    of its prompt and its calibration included; training costs three times a student's forward pass.
    The machine's speed is a matrix product timed here and now.
    """
    rate = matrix_product_rate()
    copies = recipe.data.augment.copies if recipe.data.augment is not None else 0
    rows = [*data.train, *data.unlabeled]
    asked = (
        rough_tokens(rows)
        + copies * rough_tokens(data.train)
        + rough_tokens(data.validation)
        + rough_tokens(data.test)
    )
    if question is not None:
        texts = len(rows) + copies * len(data.train) + len(data.validation) + len(data.test)
        asked += sum(prompt_tokens(recipe, data, question, texts=texts))
    fitted_to = rough_tokens([example for example in data.train if example.label is not None])
    weights = facts.parameters if facts is not None else 0
    fit = recipe.teacher.fit if recipe.teacher.kind == "classifier" else None
    fitting = (
        3.0 * fit.epochs * fitted_to
        if fit is not None and not isinstance(fit, (HeadFit, NoFit))
        else 0.0
    )
    teacher_seconds = 2.0 * weights * (asked + fitting) / (0.7 * rate)
    steps = 0
    training_seconds = 0.0
    student_bytes = 0
    runs = 2 if recipe.evaluate.control else 1
    for name, student in recipe.students.items():
        train = recipe.train_for(name)
        epochs = train.epochs
        transfer = len(rows) + copies * len(data.train)
        student_steps = max(1, -(-transfer // train.batch_size)) * epochs
        body, total = student.spec(labels=recipe.task.labels).weights()
        operations = 6.0 * body * epochs * (rough_tokens(rows) + copies * rough_tokens(data.train))
        training_seconds += runs * (operations / (0.3 * rate) + 0.006 * student_steps)
        steps += runs * student_steps
        student_bytes += runs * 4 * total * 4  # weights, two optimiser moments, one checkpoint more
    target_bytes = len(rows) * (copies + 1) * 2 * (16 + 4 * len(recipe.task.labels))
    converted = 4 * weights if facts is not None and facts.needs_conversion else 0
    return {
        "teacher_tokens": round(asked),
        "teacher_parameters": weights,
        "teacher_seconds": round(teacher_seconds, 1),
        "steps": steps,
        "training_seconds": round(training_seconds, 1),
        "disk_bytes": int(
            converted + saved_teacher_bytes(recipe, facts) + student_bytes + target_bytes
        ),
        "free_disk_bytes": min(free_disk_bytes(root.absolute()), free_disk_bytes(cache_folder())),
    }


def saved_teacher_bytes(recipe: Recipe, facts: ModelFacts | None) -> int:
    """What a run keeps of its teacher: every weight that was fitted, or the saved teacher that it
    copies.

    A linear head is too small to count, and a classifier that is used as it is stays where it is.

    Args:
        recipe: A recipe.
        facts: Of the teacher's language model; None where it is not known.

    Returns:
        Bytes; 0 for a hub model whose size is not known.
    """
    from tutelage.models import choose_dtype

    if recipe.teacher.kind != "classifier" or facts is None:
        return 0
    match recipe.teacher.fit:
        case FullFit():
            return facts.parameters * choose_dtype(recipe.teacher.dtype).itemsize
        case LoraFit(rank=rank, cross_fit=folds):
            return 4 * rank * facts.matrix_sides * (1 + folds)  # adapters are kept in float32
        case NoFit() if saved_teacher(recipe) is not None:
            return sum(
                path.stat().st_size
                for path in Path(str(recipe.teacher.model)).rglob("*.safetensors")
            )
        case _:
            return 0


def still_to_write(
    estimate: dict[str, Any], folder: RunFolder, stages: Mapping[str, str]
) -> dict[str, Any]:
    """An estimate less what a run has written before, checkpoints and half of a target store
    included.

    Args:
        estimate: Of the whole run.
        folder: The run's.
        stages: Fingerprint of each stage that is asked for, by its name. What a stage made of other
            inputs does not count: it may stay beside what is made now.
    """
    written = 0
    for name, fingerprint in stages.items():
        stage = folder.stage(name)
        if stage.is_done(fingerprint) or not stage.path.exists():
            written += sum(
                path.stat().st_size for path in (folder.path / name).rglob("*") if path.is_file()
            )
    return {**estimate, "disk_bytes": max(0, estimate["disk_bytes"] - written)}


def require_disk(estimate: dict[str, Any]) -> None:
    """Refuse a run whose output would not fit.

    Raises:
        NotEnoughDisk: The estimate with a margin is more than what is free.
    """
    needed, free = DISK_MARGIN * estimate["disk_bytes"], estimate["free_disk_bytes"]
    if needed > free:
        raise NotEnoughDisk(
            f"about {needed / 1e9:.2f} GB would be written but {free / 1e9:.2f} GB are free. Free "
            "some space, "
            "choose another disk (run --out for the run, TUTELAGE_CACHE for models), or train "
            "fewer or smaller students"
        )


def require_memory(estimate: dict[str, Any]) -> None:
    """Refuse a run that this machine has not the memory for, however idle it is.

    Raises:
        NotEnoughMemory: What cannot be done without is more than all memory.
    """
    needed, there = estimate["least_memory_bytes"], estimate["total_memory_bytes"]
    if needed > there:
        raise NotEnoughMemory(
            f"at least {needed / 1e9:.1f} GB of memory would be needed at once but this machine "
            "has "
            f"{there / 1e9:.1f} GB. Train a smaller student, take a smaller teacher, or run on a "
            "larger machine"
        )


def describe(recipe: Recipe, data: Prepared, estimate: dict[str, Any]) -> str:
    """The estimate as a few lines for a person."""
    labelled = sum(example.label is not None for example in data.train)
    return "\n".join(
        [
            f"{recipe.name}: the recipe and its data are fine.",
            f"  rows      {len(data.train):,} train ({labelled:,} labelled), "
            f"{len(data.unlabeled):,} unlabeled, "
            f"{len(data.validation):,} validation, {len(data.test):,} test",
            f"  teacher   about {estimate['teacher_tokens']:,} tokens, "
            f"{describe_minutes(estimate['teacher_seconds'])}",
            "  students  "
            f"{len(recipe.students)}{' and their controls' if recipe.evaluate.control else ''}, "
            f"{estimate['steps']:,} steps, {describe_minutes(estimate['training_seconds'])}",
            f"  disk      about {estimate['disk_bytes'] / 1e6:,.0f} MB "
            f"({estimate['free_disk_bytes'] / 1e9:,.0f} GB free)",
            "Times are rough: within a factor of two on a quiet machine.",
        ]
    )


def matrix_product_rate(size: int = 1024, repeats: int = 5) -> float:
    """Floating-point operations a second of a float32 matrix product where models will run, the
    best of a few.
    """
    import torch

    if torch.cuda.is_available():
        return _rate_on_gpu(4 * size, repeats)
    left, right = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    product = np.empty_like(left)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        np.matmul(left, right, out=product)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def _rate_on_gpu(size: int, repeats: int) -> float:
    import torch

    left = torch.ones(size, size, device="cuda")
    best = float("inf")
    for _ in range(repeats + 1):  # the first one loads the kernel
        torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(left, left)
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best


def free_disk_bytes(folder: Path) -> int:
    """What is free on the disk where a folder is, or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def describe_minutes(seconds: float) -> str:
    """A duration as an estimate is told."""
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
