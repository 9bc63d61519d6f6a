"""`tutelage check` of a causal_lm recipe: every problem at once, and what a run would take.

In: a recipe. Out: problems, and an estimate of time, disk and memory. Nothing is trained or
written, but that a GGUF file is turned into a plain model in the cache, once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.data import PreparedDocuments
from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory, Problem
from tutelage.models import has_fast_bfloat16, model_config, model_facts, register
from tutelage.models.rebuilding import empty_model
from tutelage.students import language_parameters
from tutelage.tasks.classification.checking import (
    Check,
    describe_minutes,
    free_disk_bytes,
    matrix_product_rate,
    require_disk,
    require_memory,
)
from tutelage.tasks.language.data import read_language_data, teacher_tokenizer
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.student_checking import language_student_problems
from tutelage.tasks.language.training import used_ids
from tutelage.types import SILENT, Document, Progress

BYTES_PER_ID = {"sampled": 1.7, "top_k": 2.5}
"""Disk of one kept id, with its share of everything else."""
IDS_AT_THRESHOLD = 12.0 * 0.05**0.8
"""Kept ids times threshold^0.8: on film reviews and SmolLM2 4, 12 and 25 of them at 0.2, 0.05 and
0.02."""
SCORING_SHARE, TRAINING_SHARE = 0.7, 0.5
"""Shares of the machine's matrix-product rate that scoring and training reach."""
MEMORY_MARGIN = 1.1
FEW_TOKENS, FINE_THRESHOLD = 1_000_000, 0.01
"""So few tokens do not average the noise of sampled targets out (at a tenth of them a threshold of
0.05 still cost 0.06 nats; more have not been measured), and a threshold that leaves little of
it."""


def check_language_recipe(
    recipe: LanguageRecipe, *, root: Path = Path("runs"), progress: Progress = SILENT
) -> Check:
    """Validate data and models of a causal_lm recipe that loaded, and estimate time, disk and
    memory.

    Args:
        recipe: From `tutelage.load_recipe`, which has checked the file itself.
        root: Where the run would be written.
        progress: Told what is being looked at.

    Returns:
        Every problem found, and an estimate, rough on purpose: within a factor of two on a quiet
        machine.
    """
    progress.say("Reading data")
    try:
        tokenizer = teacher_tokenizer(recipe)
    except (ModelError, NotEnoughDisk, NotEnoughMemory) as error:
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
                f"{estimate['free_memory_bytes'] / 1e9:.1f} GB are free. Train a smaller student, "
                "take a smaller teacher, or free memory",
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
    if threshold <= FINE_THRESHOLD or tokens >= FEW_TOKENS:
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


def estimate_language_run(
    recipe: LanguageRecipe, data: PreparedDocuments, *, root: Path
) -> dict[str, Any]:
    """Rough time, disk and memory of a run on this machine.

    The teacher multiplies each token with each of its weights once (two operations a weight);
    training costs three times a student's forward pass. The machine's speed is a matrix product
    timed here and now.
    """
    rate = matrix_product_rate()
    facts = model_facts(
        str(recipe.teacher.model), trust_remote_code=recipe.teacher.trust_remote_code
    )
    config = model_config(
        str(recipe.teacher.model), trust_remote_code=recipe.teacher.trust_remote_code
    )
    # Weights on the hub are not looked at before the run: they are counted as the configuration
    # asks for them.
    weights = facts.parameters or _weights_of(config)
    train, held_out, test = (_tokens(part) for part in (data.train, data.validation, data.test))
    positions = sum(document.positions for document in (*data.train, *data.validation))
    teacher_tokens = train + held_out + test
    teacher_seconds = 2.0 * weights * teacher_tokens / (SCORING_SHARE * rate)
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
        teacher_seconds += 2.0 * weights * train * len(recipe.students) / (SCORING_SHARE * rate)
    output_matrix = 4 * config.vocab_size * config.hidden_size if targets.kind == "hidden" else 0
    converted = 4 * weights if facts.needs_conversion else 0
    checkpoints = (
        3 * 16 * largest
    )  # weights, two moments and the best weights; two kept while a third is written
    return {
        "teacher_tokens": round(teacher_tokens),
        "teacher_parameters": weights,
        "teacher_seconds": round(teacher_seconds, 1),
        "steps": steps,
        "training_seconds": round(training_seconds, 1),
        "target_bytes": int(each * positions + output_matrix),
        "disk_bytes": int(
            each * positions + output_matrix + student_bytes + checkpoints + converted
        ),
        "free_disk_bytes": free_disk_bytes(root),
        "memory_bytes": int(4 * weights + 24 * largest + 2e9),
        "free_memory_bytes": _free_memory(),
        "least_memory_bytes": _least_memory(recipe, weights, least),
        "total_memory_bytes": _total_memory(),
    }


def _weights_of(config: Any) -> int:
    """Number of weights of a model of this configuration; 0 where only code of its own could
    tell.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    register()
    # transformers would ask on the terminal whether to run code of its own.
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return 0
    try:
        return sum(parameter.numel() for parameter in empty_model(config).parameters())
    except (ValueError, OSError):
        return 0


def _describe(recipe: LanguageRecipe, data: PreparedDocuments, estimate: dict[str, Any]) -> str:
    controls = " and their controls" if recipe.evaluate.control else ""
    return "\n".join(
        [
            f"{recipe.name}: the recipe and its data are fine.",
            f"  documents {len(data.train):,} train, {len(data.validation):,} validation, "
            f"{len(data.test):,} test; "
            f"{_tokens(data.train):,} training tokens",
            f"  teacher   about {estimate['teacher_tokens']:,} tokens, "
            f"{describe_minutes(estimate['teacher_seconds'])}",
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
    """What a run cannot do without in this machine's own memory, in bytes; an accelerator has
    memory of its own.
    """
    if torch.cuda.is_available():
        return 0
    dtype = recipe.teacher.dtype
    halved = dtype == "bfloat16" or (dtype == "auto" and has_fast_bfloat16())
    return (2 if halved else 4) * teacher_parameters + student_bytes


def _total_memory() -> int:
    """Memory of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
