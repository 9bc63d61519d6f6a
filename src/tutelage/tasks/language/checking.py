"""`tutelage check` of a causal_lm recipe: every problem at once, and what a run would take.

In: a recipe. Out: problems, and an estimate of time, disk and memory. Nothing is trained or
written, but that a GGUF file is turned into a plain model in the cache, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tutelage.data import PreparedDocuments
from tutelage.errors import NotEnoughDisk, NotEnoughMemory, Problem
from tutelage.students import language_parameters
from tutelage.tasks.estimates import (
    Check,
    describe_bytes,
    describe_effort,
    describe_minutes,
    free_disk_bytes,
    free_memory_bytes,
    matrix_product_rate,
    require_disk,
    require_memory,
    total_memory_bytes,
)
from tutelage.tasks.language.data import (
    assignment_of,
    read_language_data,
    teacher_problems,
    teacher_spec,
    teacher_tokenizer,
)
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.student_checking import language_student_problems
from tutelage.tasks.language.training import used_ids
from tutelage.teachers.spec import SCORING_SHARE
from tutelage.types import SILENT, Document, Progress

BYTES_PER_ID = {"sampled": 1.7, "top_k": 2.5}
"""Disk of one kept id, with its share of everything else."""
BYTES_OF_A_REPLYS_ID = 17
"""Disk of an id with its log-probability in the reply of a server, which is kept."""
IDS_AT_THRESHOLD = 12.0 * 0.05**0.8
"""Kept ids times threshold^0.8: on film reviews and SmolLM2 4, 12 and 25 of them at 0.2, 0.05 and
0.02."""
TRAINING_SHARE = 0.5
"""The share of the machine's matrix-product rate that training reaches."""
MEMORY_MARGIN = 1.1
FEW_TOKENS, FINE_THRESHOLD = 1_000_000, 0.01
"""So few tokens do not average the noise of sampled targets out (at a tenth of them a threshold of
0.05 still cost 0.06 nats; more have not been measured), and a threshold that leaves little of
it."""


def check_language_recipe(
    recipe: LanguageRecipe,
    *,
    root: Path = Path("runs"),
    few_tokens: int = FEW_TOKENS,
    progress: Progress = SILENT,
) -> Check:
    """Validate data and models of a causal_lm recipe that loaded, and estimate time, disk and
    memory.

    Args:
        recipe: From `tutelage.load_recipe`, which has checked the file itself.
        root: Where the run would be written.
        few_tokens: Of fewer tokens than this, coarse targets and a share of the teacher's that is
            held to the end are advised against.
        progress: Told what is being looked at.

    Returns:
        Every problem found, and an estimate, rough on purpose: within a factor of two on a quiet
        machine.
    """
    progress.say("Reading data")
    if refused := teacher_problems(recipe):
        return Check(refused, {}, "")
    tokenizer = teacher_tokenizer(recipe)
    data, problems = read_language_data(recipe, tokenizer)
    if data is not None:
        problems += language_student_problems(recipe, data, tokenizer)
    if data is None or any(problem.severity == "error" for problem in problems):
        return Check(problems, {}, "")
    tokens = sum(document.positions for document in data.train)
    if tokens < few_tokens:
        problems += [*_noise_of_few_tokens(recipe, tokens), *_teacher_to_the_end(recipe, tokens)]
    estimate = estimate_language_run(recipe, data, root=root)
    try:
        require_disk(estimate)
    except NotEnoughDisk as error:
        problems.append(Problem(str(root), str(error)))
    try:
        require_memory(estimate)
    except NotEnoughMemory as error:
        problems.append(Problem("memory", str(error)))
        return Check(problems, estimate, _describe(recipe, data, estimate))
    if estimate["memory_bytes"] * MEMORY_MARGIN > estimate["free_memory_bytes"]:
        problems.append(
            Problem(
                "memory",
                f"about {describe_bytes(estimate['memory_bytes'])} would be needed at once but "
                f"{describe_bytes(estimate['free_memory_bytes'])} are free. Train a smaller "
                "student, take a smaller teacher, or free memory",
                severity="warning",
            )
        )
    return Check(problems, estimate, _describe(recipe, data, estimate))


def _noise_of_few_tokens(recipe: LanguageRecipe, tokens: int) -> list[Problem]:
    """Advice where a student would read so little that the draws of its targets show in what it
    learns.
    """
    targets = recipe.targets
    threshold = targets.threshold or 0.0 if targets.kind == "sampled" else 0.0
    if threshold <= FINE_THRESHOLD:
        return []
    return [
        Problem(
            "targets.threshold",
            f"{threshold} is coarse for {tokens:,} tokens, too few to average its noise out: "
            f"{FINE_THRESHOLD} costs {(threshold / FINE_THRESHOLD) ** 0.7:.1f} times the bytes and "
            "teaches "
            "better (docs/targets.md)",
            severity="warning",
        )
    ]


def _teacher_to_the_end(recipe: LanguageRecipe, tokens: int) -> list[Problem]:
    """Advice where few tokens are read with the teacher's share held: of text that the teacher
    knows less well a student then learns less than it could.
    """
    objectives = {name: recipe.objective_for(name) for name in recipe.students}
    held = [
        name
        for name, objective in objectives.items()
        if objective.soft_weight and objective.soft_weight_final is None
    ]
    if not held:
        return []
    return [
        Problem(
            "objective.soft_weight_final",
            f"is not given, so {', '.join(held)} would hold the teacher's share to the end of "
            f"{tokens:,} tokens: on text that the teacher knows less well soft_weight_final: 0 "
            "with train.decay_share: 0.6 gave fewer nats "
            "(benchmarks/results/language_soft_or_text.md)",
            severity="warning",
        )
    ]


def estimate_language_run(
    recipe: LanguageRecipe, data: PreparedDocuments, *, root: Path
) -> dict[str, Any]:
    """Rough time, disk and memory of a run on this machine.

    The teacher multiplies each token with each of its weights once (two operations a weight);
    training costs three times a student's forward pass. The machine's speed is a matrix product
    timed here and now.
    """
    rate = matrix_product_rate()
    spec = teacher_spec(recipe)
    config = spec.config()
    train, test = _tokens(data.train), _tokens(data.test)
    positions = sum(document.positions for document in (*data.train, *data.validation))
    asked = [data.train, data.validation]
    if spec.has_weights:  # else nobody is held beside it on the test
        asked.append(data.test)
    teacher_tokens = sum(map(_tokens, asked))
    teacher = spec.estimate(
        assignment_of(recipe), texts=sum(map(len, asked)), tokens=teacher_tokens, rate=rate
    )
    kept_bytes = (
        0
        if spec.has_weights or recipe.targets.kind != "top_k"
        else (BYTES_OF_A_REPLYS_ID * recipe.targets.k * teacher_tokens)
    )
    teacher_seconds = teacher.seconds
    runs = 2 if recipe.evaluate.control else 1
    training_seconds, student_bytes, largest, least, steps = 0.0, 0, 0, 0, 0
    for name, student in recipe.students.items():
        section = recipe.train_for(name)
        # Tokens that the tokenizer itself needs come on top, some hundreds.
        spec = student.spec()
        tokens = len(used_ids(data)) if spec.trims_vocabulary else None
        parameters = language_parameters(spec, config, vocabulary=tokens)
        read = section.token_budget or section.epochs * train
        training_seconds += runs * 6.0 * parameters * read / (TRAINING_SHARE * rate)
        training_seconds += runs * 2.0 * parameters * test / (SCORING_SHARE * rate)
        steps += runs * max(1, round(read / section.batch_tokens))
        student_bytes += runs * 4 * parameters
        largest = max(largest, parameters)
        # Weights, gradients and two moments; adapters need the last three for a few weights only.
        least = max(least, (16 if spec.lora is None else 4) * parameters)
    targets = recipe.targets
    each = 0.0
    if targets.kind == "sampled":
        kept = targets.budget or IDS_AT_THRESHOLD * (targets.threshold or 1.0) ** -0.8
        each = BYTES_PER_ID["sampled"] * min(kept, config.vocab_size)
    elif targets.kind == "top_k":
        each = BYTES_PER_ID["top_k"] * targets.k
    elif targets.kind == "hidden":
        each = config.hidden_size + 8.0
    elif targets.kind == "live":
        teacher_seconds *= 1.0 + train * len(recipe.students) / teacher_tokens
    at_once = partial(_at_once, is_live=targets.kind == "live")
    output_matrix = 4 * config.vocab_size * config.hidden_size if targets.kind == "hidden" else 0
    checkpoints = (
        3 * 16 * largest
    )  # weights, two moments and the best weights; two kept while a third is written
    return {
        "teacher_tokens": round(teacher.tokens),
        "teacher_parameters": teacher.parameters,
        **({"teacher_dollars": teacher.dollars} if teacher.dollars else {}),
        **({"teacher_requests": teacher.requests} if teacher.requests else {}),
        "teacher_seconds": round(teacher_seconds, 1),
        "steps": steps,
        "training_seconds": round(training_seconds, 1),
        "target_bytes": int(each * positions + output_matrix),
        "disk_bytes": int(
            each * positions
            + output_matrix
            + kept_bytes
            + student_bytes
            + checkpoints
            + teacher.disk_bytes
        ),
        "free_disk_bytes": free_disk_bytes(root),
        "memory_bytes": int(at_once(4 * teacher.parameters, 24 * largest, student_bytes) + 2e9),
        "free_memory_bytes": free_memory_bytes(),
        "least_memory_bytes": 0
        if torch.cuda.is_available()
        else at_once(teacher.memory_bytes, least, 4 * largest),
        "total_memory_bytes": total_memory_bytes(),
    }


def _at_once(teacher: int, training: int, students: int, *, is_live: bool) -> int:
    """Bytes that are needed at the same time.

    Args:
        teacher: Of the teacher.
        training: Of the largest student while it trains.
        students: Of students' weights alone: beside the teacher's when a student is made from it,
            and when everybody is judged.
        is_live: Whether the teacher answers while students train; else it is gone by then.
    """
    return teacher + training if is_live else max(teacher + students, training)


def _describe(recipe: LanguageRecipe, data: PreparedDocuments, estimate: dict[str, Any]) -> str:
    controls = " and their controls" if recipe.evaluate.control else ""
    return "\n".join(
        [
            f"{recipe.name}: the recipe and its data are fine.",
            f"  documents {len(data.train):,} train, {len(data.validation):,} validation, "
            f"{len(data.test):,} test; "
            f"{_tokens(data.train):,} training tokens",
            f"  teacher   {describe_effort(estimate)}",
            f"  targets   about {describe_bytes(estimate['target_bytes'])} ({recipe.targets.kind})",
            f"  students  {len(recipe.students)}{controls}, {estimate['steps']:,} steps, "
            f"{describe_minutes(estimate['training_seconds'])}",
            f"  disk      about {describe_bytes(estimate['disk_bytes'])} "
            f"({describe_bytes(estimate['free_disk_bytes'])} free)",
            f"  memory    about {describe_bytes(estimate['memory_bytes'])} "
            f"({describe_bytes(estimate['free_memory_bytes'])} free)",
            "Times are rough: within a factor of two on a quiet machine.",
        ]
    )


def _tokens(documents: Sequence[Document]) -> int:
    return sum(len(document.token_ids) for document in documents)
