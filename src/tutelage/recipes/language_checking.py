"""`tutelage check` of a causal_lm recipe: every problem at once, and what a run would take.

In: a recipe. Out: problems, and an estimate of time, disk and memory. Nothing is trained or written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.config import LanguageRecipe
from tutelage.data import PreparedDocuments
from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory, Problem, RecipeError
from tutelage.recipes.checking import (
    Check,
    describe_minutes,
    free_disk_bytes,
    matrix_product_rate,
    require_disk,
    require_memory,
)
from tutelage.recipes.language_inputs import read_language_data, teacher_tokenizer
from tutelage.recipes.language_training import trims_vocabulary, used_ids
from tutelage.students import language_parameters, needed_ids
from tutelage.teachers import (
    has_fast_bfloat16,
    load_tokenizer,
    model_config,
    model_facts,
    require_same_tokenizer,
)
from tutelage.types import SILENT, Document, Progress

BYTES_PER_ID = {"sampled": 1.7, "top_k": 2.5}
"""Disk of one kept id, with its share of everything else."""
IDS_AT_THRESHOLD = 12.0 * 0.05**0.8
"""Kept ids times threshold^0.8: on film reviews and SmolLM2 4, 12 and 25 of them at 0.2, 0.05 and 0.02."""
SCORING_SHARE, TRAINING_SHARE = 0.7, 0.5
"""Shares of the machine's matrix-product rate that scoring and training reach."""
MEMORY_MARGIN = 1.1
FEW_TOKENS, FINE_THRESHOLD = 100_000, 0.01
"""So few tokens do not average the noise of sampled targets out, and a threshold that leaves little of it."""


def check_language_recipe(recipe: LanguageRecipe, *, root: Path = Path("runs"), progress: Progress = SILENT) -> Check:
    """Validate data and models of a causal_lm recipe that loaded, and estimate time, disk and memory.

    Args:
        recipe: From `tutelage.load_recipe`, which has checked the file itself.
        root: Where the run would be written.
        progress: Told what is being looked at.

    Returns:
        Every problem found, and an estimate, rough on purpose: within a factor of two on a quiet machine.
    """
    progress.say("Reading data")
    try:
        tokenizer = teacher_tokenizer(recipe)
    except ModelError as error:
        return Check([Problem("teacher.model", str(error))], {}, "")
    data, problems = read_language_data(recipe, tokenizer)
    if data is not None:
        problems += language_student_problems(recipe, data, tokenizer)
    if data is None or any(problem.severity == "error" for problem in problems):
        return Check(problems, {}, "")
    problems += _noise_of_few_tokens(recipe, sum(document.positions for document in data.train))
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
                f"about {estimate['memory_bytes'] / 1e9:.1f} GB would be needed at once but "
                f"{estimate['free_memory_bytes'] / 1e9:.1f} GB are free. Train a smaller student, lower "
                "train.micro_batch_tokens, or set targets.kind to sampled so that the teacher leaves memory",
                severity="warning",
            )
        )
    return Check(problems, estimate, _describe(recipe, data, estimate))


def require_language_students(recipe: LanguageRecipe, data: PreparedDocuments, tokenizer: Any) -> None:
    """Refuse students that cannot be made, before anything is computed.

    Raises:
        RecipeError: Every one of them.
    """
    problems = language_student_problems(recipe, data, tokenizer)
    if problems:
        raise RecipeError(problems)


def language_student_problems(recipe: LanguageRecipe, data: PreparedDocuments, tokenizer: Any) -> list[Problem]:
    """What keeps teacher and students of a recipe from working together, told from configurations alone."""
    problems: list[Problem] = []
    config = model_config(str(recipe.teacher.model), trust_remote_code=recipe.teacher.trust_remote_code)
    context = getattr(config, "max_position_embeddings", None)
    if context is not None and recipe.task.sequence_length > context:
        problems.append(
            Problem(
                "task.sequence_length",
                f"is {recipe.task.sequence_length} but the teacher reads at most {context} tokens: lower it",
            )
        )
    texts = [tokenizer.decode(document.token_ids) for document in data.train[:20]]
    for name, student in recipe.students.items():
        where = f"students.{name}"
        if student.kind == "pretrained":
            try:
                theirs = load_tokenizer(str(student.model))
                require_same_tokenizer(tokenizer, theirs, texts, name=name)
                reads = getattr(model_config(str(student.model)), "max_position_embeddings", None)
            except ModelError as error:
                problems.append(Problem(f"{where}.model", str(error)))
                reads = None
            if reads is not None and recipe.task.sequence_length > reads:
                problems.append(
                    Problem(
                        f"{where}.model",
                        f"reads at most {reads} tokens but task.sequence_length is {recipe.task.sequence_length}: "
                        "lower it, or take a student that reads more",
                    )
                )
        else:
            problems += _size_problems(student, config, where)
        if trims_vocabulary(student):
            try:
                needed_ids(tokenizer, used_ids(data), config=config)
            except ModelError as error:
                problems.append(Problem(f"{where}.vocabulary", str(error)))
        if (student.kind == "rnn" or student.kind == "transformer") and student.embeddings == "teacher":
            width = getattr(student, "embedding_size", None) or student.hidden_size
            if width > config.hidden_size:
                problems.append(
                    Problem(
                        where,
                        f"is {width} wide but the teacher's embeddings have {config.hidden_size} values, and none can "
                        "be made up: take a narrower student or embeddings: random",
                    )
                )
        if getattr(student, "hidden_weight", 0.0) and recipe.targets.kind not in ("hidden", "live"):
            problems.append(
                Problem(
                    f"{where}.hidden_weight",
                    f"needs the teacher's hidden states, which targets of kind {recipe.targets.kind} do not hold: set "
                    "targets.kind to hidden or live",
                )
            )
    return problems


def _noise_of_few_tokens(recipe: LanguageRecipe, tokens: int) -> list[Problem]:
    """Advice where a student would read so little that the draws of its targets show in what it learns."""
    targets = recipe.targets
    if targets.kind != "sampled" or (targets.threshold or 0.0) <= FINE_THRESHOLD or tokens >= FEW_TOKENS:
        return []
    return [
        Problem(
            "targets.threshold",
            f"{targets.threshold} is coarse for {tokens:,} tokens, too few to average its noise out: "
            f"{FINE_THRESHOLD} costs three times the bytes and teaches better (docs/targets.md)",
            severity="warning",
        )
    ]


def estimate_language_run(recipe: LanguageRecipe, data: PreparedDocuments, *, root: Path) -> dict[str, Any]:
    """Rough time, disk and memory of a run on this machine.

    The teacher multiplies each token with each of its weights once (two operations a weight); training costs three
    times a student's forward pass. The machine's speed is a matrix product timed here and now.
    """
    rate = matrix_product_rate()
    facts = model_facts(str(recipe.teacher.model), trust_remote_code=recipe.teacher.trust_remote_code)
    config = model_config(str(recipe.teacher.model), trust_remote_code=recipe.teacher.trust_remote_code)
    train, held_out, test = (_tokens(part) for part in (data.train, data.validation, data.test))
    positions = sum(document.positions for document in (*data.train, *data.validation))
    teacher_tokens = train + held_out + test
    teacher_seconds = 2.0 * facts.parameters * teacher_tokens / (SCORING_SHARE * rate)
    runs = 2 if recipe.evaluate.control else 1
    training_seconds, student_bytes, largest, least, steps = 0.0, 0, 0, 0, 0
    for name, student in recipe.students.items():
        section = recipe.train_for(name)
        # Tokens that the tokenizer itself needs come on top, some hundreds.
        tokens = len(used_ids(data)) if trims_vocabulary(student) else None
        parameters = language_parameters(student, config, vocabulary=tokens)
        read = section.token_budget or section.epochs * train
        training_seconds += runs * 6.0 * parameters * read / (TRAINING_SHARE * rate)
        training_seconds += runs * 2.0 * parameters * test / (SCORING_SHARE * rate)
        steps += runs * max(1, round(read / section.batch_tokens))
        student_bytes += runs * 4 * parameters
        largest = max(largest, parameters)
        # Weights, gradients and two moments; adapters need the last three for a few weights only.
        least = max(least, (16 if student.lora is None else 4) * parameters)
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
        teacher_seconds += 2.0 * facts.parameters * train * len(recipe.students) / (SCORING_SHARE * rate)
    output_matrix = 4 * config.vocab_size * config.hidden_size if targets.kind == "hidden" else 0
    converted = 4 * facts.parameters if facts.needs_conversion else 0
    checkpoints = 3 * 16 * largest  # weights, two moments and the best weights; two kept while a third is written
    return {
        "teacher_tokens": round(teacher_tokens),
        "teacher_parameters": facts.parameters,
        "teacher_seconds": round(teacher_seconds, 1),
        "steps": steps,
        "training_seconds": round(training_seconds, 1),
        "target_bytes": int(each * positions + output_matrix),
        "disk_bytes": int(each * positions + output_matrix + student_bytes + checkpoints + converted),
        "free_disk_bytes": free_disk_bytes(root),
        "memory_bytes": int(4 * facts.parameters + 24 * largest + 2e9),
        "free_memory_bytes": _free_memory(),
        "least_memory_bytes": _least_memory(recipe, facts.parameters, least),
        "total_memory_bytes": _total_memory(),
    }


def _size_problems(student: Any, config: Any, where: str) -> list[Problem]:
    """Why there can be no student of such sizes."""
    try:
        language_parameters(student, config)
    except (ModelError, ValueError) as error:
        return [Problem(where, str(error))]
    return []


def _describe(recipe: LanguageRecipe, data: PreparedDocuments, estimate: dict[str, Any]) -> str:
    controls = " and their controls" if recipe.evaluate.control else ""
    return "\n".join(
        [
            f"{recipe.name}: the recipe and its data are fine.",
            f"  documents {len(data.train):,} train, {len(data.validation):,} validation, {len(data.test):,} test; "
            f"{_tokens(data.train):,} training tokens",
            f"  teacher   about {estimate['teacher_tokens']:,} tokens, {describe_minutes(estimate['teacher_seconds'])}",
            f"  targets   about {estimate['target_bytes'] / 1e6:,.1f} MB ({recipe.targets.kind})",
            f"  students  {len(recipe.students)}{controls}, {estimate['steps']:,} steps, "
            f"{describe_minutes(estimate['training_seconds'])}",
            f"  disk      about {estimate['disk_bytes'] / 1e9:,.2f} GB "
            f"({estimate['free_disk_bytes'] / 1e9:,.0f} GB free)",
            f"  memory    about {estimate['memory_bytes'] / 1e9:,.1f} GB "
            f"({estimate['free_memory_bytes'] / 1e9:,.0f} GB free)",
            "Times are rough: within a factor of two on a quiet machine.",
        ]
    )


def _tokens(documents: Sequence[Document]) -> int:
    return sum(len(document.token_ids) for document in documents)


def _free_memory() -> int:
    """Memory that could be had now, in bytes."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return _total_memory()


def _least_memory(recipe: LanguageRecipe, teacher_parameters: int, student_bytes: int) -> int:
    """What a run cannot do without in this machine's own memory, in bytes; an accelerator has memory of its own."""
    if torch.cuda.is_available():
        return 0
    dtype = recipe.teacher.dtype
    halved = dtype == "bfloat16" or (dtype == "auto" and has_fast_bfloat16())
    return (2 if halved else 4) * teacher_parameters + student_bytes


def _total_memory() -> int:
    """Memory of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
