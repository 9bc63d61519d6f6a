"""`tutelage check` of a causal_lm recipe with text targets: every problem at once, and what asking,
training and judging would take. Nothing is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.data import PreparedDocuments
from tutelage.data.documents.chat import has_chat_template
from tutelage.data.documents.messages import Message
from tutelage.data.documents.prompts import PreparedPrompts, Prompt, prompt_text
from tutelage.errors import DataError, NotEnoughDisk, NotEnoughMemory, Problem, RecipeError
from tutelage.targets.languages import language_problem
from tutelage.tasks.estimates import (
    Check,
    describe_bytes,
    describe_effort,
    describe_minutes,
    matrix_product_rate,
    require_disk,
    require_memory,
)
from tutelage.tasks.language.accepting import judge_effort, judge_problems
from tutelage.tasks.language.checking import estimate_language_run
from tutelage.tasks.language.data import (
    prepare_prompted_data,
    teacher_problems,
    teacher_spec,
    teacher_tokenizer,
    text_options,
)
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.student_checking import COMPARED_TEXTS, language_student_problems
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN, Effort
from tutelage.types import SILENT, Document, Progress

BYTES_OF_A_TOKEN = 5
"""On disk, with what says where an answer belongs."""


def check_text_recipe(
    recipe: LanguageRecipe, *, root: Path = Path("runs"), progress: Progress = SILENT
) -> Check:
    """Validate prompts, teacher and students of a recipe that loaded, and estimate time, disk,
    memory and, where it costs any, money.

    Args:
        recipe: From `tutelage.load_recipe`, which has checked the file itself.
        root: Where the run would be written.
        progress: Told what is being looked at.
    """
    progress.say("Reading data")
    problems = teacher_problems(recipe)
    if any(problem.severity == "error" for problem in problems):
        return Check(problems, {}, "")
    tokenizer = teacher_tokenizer(recipe)
    try:
        prompts = prepare_prompted_data(recipe, tokenizer)
    except RecipeError as error:
        return Check([*problems, *error.problems], {}, "")
    problems += [*prompts.documents.warnings, *text_problems(recipe, prompts, tokenizer)]
    if any(problem.severity == "error" for problem in problems):
        return Check(problems, {}, "")
    estimate = estimate_text_run(recipe, prompts, root=root)
    for where, refuse in ((str(root), require_disk), ("memory", require_memory)):
        try:
            refuse(estimate)
        except (NotEnoughDisk, NotEnoughMemory) as error:
            problems.append(Problem(where, str(error)))
    return Check(problems, estimate, _describe(recipe, prompts, estimate))


def text_problems(
    recipe: LanguageRecipe, prompts: PreparedPrompts, tokenizer: Any
) -> list[Problem]:
    """What keeps a teacher from answering or students from learning it, told before anything is
    asked.
    """
    texts = [prompt.text for prompt in prompts.train[:COMPARED_TEXTS]]
    problems = language_student_problems(recipe, prompts.documents, tokenizer, texts=texts)
    problems += judge_problems(recipe)
    languages = text_options(recipe).languages
    if languages is not None and (wrong := language_problem(languages)) is not None:
        problems.append(Problem("targets.languages", wrong))
    own = prompts.documents
    empty = [part for part in ("train", "validation") if not getattr(own, part)]
    if recipe.evaluate.control and empty:
        where = (
            f"add the column {recipe.data.response_field}"
            if recipe.data.messages_field is None
            else f"end {recipe.data.messages_field} with what the assistant says"
        )
        problems.append(
            Problem(
                "evaluate.control",
                "controls are trained on the responses of the data, and there are none in "
                f"{' and '.join(empty)}: {where}, or set control: false",
            )
        )
    system = text_options(recipe).system
    asked = [*prompts.train, *prompts.validation, *prompts.test]
    if system is not None and (
        own_system := [one for one in asked if one.messages and _is_of_system(one.messages[0])]
    ):
        first = own_system[0]
        message = (
            f"{len(own_system):,} conversations have a message of the system of their own, for "
            f"instance {first.source}, row {first.row}: remove targets.system, or those messages"
        )
        problems.append(Problem("targets.system", message))
    elif system is not None and teacher_spec(recipe).has_weights and has_chat_template(tokenizer):
        try:
            prompt_text(tokenizer, texts[0], system=system, messages=prompts.train[0].messages)
        except DataError as error:
            problems.append(Problem("targets.system", str(error)))
    return problems


def _is_of_system(message: Message) -> bool:
    return message["role"] in ("system", "developer")


def estimate_text_run(
    recipe: LanguageRecipe, prompts: PreparedPrompts, *, root: Path
) -> dict[str, Any]:
    """Rough time, disk, memory and money of a run; see `estimate_language_run`. Answers are taken
    for half as long as they may be.
    """
    options = text_options(recipe)
    own = prompts.documents
    expected = PreparedDocuments(
        train=_expected(recipe, prompts.train) * options.per_prompt,
        validation=_expected(recipe, prompts.validation),
        test=own.test or _expected(recipe, prompts.test),
        warnings=(),
        facts={},
    )
    estimate = estimate_language_run(recipe, expected, root=root)
    asked = [*prompts.train * options.per_prompt, *prompts.validation, *prompts.test]
    system = len(options.system or "")
    rate, read = matrix_product_rate(), sum(len(one.text) + system for one in asked)
    effort = teacher_spec(recipe).writing_effort(
        options, prompts=len(asked), tokens=read / CHARACTERS_PER_TOKEN, rate=rate
    )
    answers = len(asked) * CHARACTERS_PER_TOKEN * options.max_new_tokens / 2
    judge = judge_effort(recipe, answers=len(asked), characters=read + answers, rate=rate)
    written = sum(document.positions for document in (*expected.train, *expected.validation))
    return {
        **estimate,
        "teacher_tokens": round(effort.tokens),
        "teacher_seconds": round(effort.seconds + estimate["teacher_seconds"], 1),
        "teacher_dollars": effort.dollars,
        "teacher_requests": effort.requests,
        "target_bytes": BYTES_OF_A_TOKEN * written,
        "disk_bytes": estimate["disk_bytes"] + 2 * BYTES_OF_A_TOKEN * written,
        **({} if judge is None else _judging(estimate, judge)),
    }


def _judging(estimate: dict[str, Any], judge: Effort) -> dict[str, Any]:
    """What a judge takes, and the memory of both."""
    return {
        "judge_tokens": round(judge.tokens),
        "judge_seconds": round(judge.seconds, 1),
        "judge_dollars": judge.dollars,
        "judge_requests": judge.requests,
        "memory_bytes": estimate["memory_bytes"] + 4 * judge.parameters,
    }


def _expected(recipe: LanguageRecipe, prompts: Sequence[Prompt]) -> list[Document]:
    """Documents as long as those that answers may make."""
    most = recipe.task.sequence_length
    answer = min(most - 1, max(1, text_options(recipe).max_new_tokens // 2))
    found = []
    for prompt in prompts:
        length = min(most, round(len(prompt.text) / CHARACTERS_PER_TOKEN) + 1 + answer)
        trained = np.arange(length) >= length - answer
        trained[0] = False
        found.append(Document(np.zeros(length, np.int32), trained, prompt.source, prompt.row))
    return found


def _describe(recipe: LanguageRecipe, prompts: PreparedPrompts, estimate: dict[str, Any]) -> str:
    controls = " and their controls" if recipe.evaluate.control else ""
    asked = len(prompts.train) * text_options(recipe).per_prompt
    asked += len(prompts.validation) + len(prompts.test)
    judge = {
        f"teacher_{key.removeprefix('judge_')}": value
        for key, value in estimate.items()
        if key.startswith("judge_")
    }
    return "\n".join(
        [
            f"{recipe.name}: the recipe and its data are fine.",
            f"  prompts   {len(prompts.train):,} train, {len(prompts.validation):,} validation, "
            f"{len(prompts.test):,} test; {asked:,} answers are asked for",
            f"  teacher   {describe_effort(estimate)}",
            *([f"  judge     {describe_effort(judge)}"] if judge else []),
            f"  students  {len(recipe.students)}{controls}, {estimate['steps']:,} steps, "
            f"{describe_minutes(estimate['training_seconds'])}",
            f"  disk      about {describe_bytes(estimate['disk_bytes'])} "
            f"({describe_bytes(estimate['free_disk_bytes'])} free)",
            f"  memory    about {describe_bytes(estimate['memory_bytes'])} "
            f"({describe_bytes(estimate['free_memory_bytes'])} free)",
            "Answers are taken for half as long as they may be. Times are rough: within a factor "
            "of two on a quiet machine.",
        ]
    )
