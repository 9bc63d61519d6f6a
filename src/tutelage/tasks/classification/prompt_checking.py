"""What keeps a prompted teacher from being asked, told before its weights are loaded, and how long
its prompts are.

In: a recipe and its data. Out: the question in the model's own tokens, or problems. Configuration
and tokenizer are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tutelage.data import Prepared
from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import prompt_options
from tutelage.types import Example

if TYPE_CHECKING:
    from tutelage.teachers.prompted.questions import Question

Value = TypeVar("Value")

CHARACTERS_PER_TOKEN = 4.0
"""Rule of thumb for byte-pair vocabularies on English; estimates say that they are rough."""


def require_question(recipe: Recipe, data: Prepared) -> Question | None:
    """The question of a prompted teacher; None for another teacher.

    Raises:
        RecipeError: The teacher cannot be asked.
    """
    question, problems = find_question(recipe, data)
    if problems:
        raise RecipeError(problems)
    return question


def find_question(recipe: Recipe, data: Prepared) -> tuple[Question | None, list[Problem]]:
    """The question that a prompted teacher of this recipe would be asked, or why it cannot be
    asked.

    Args:
        recipe: From `tutelage.load_recipe`.
        data: Whose training rows the shots are drawn from.

    Returns:
        None and no problem for a teacher that is not prompted.
    """
    from tutelage.models.reading import read_config, read_tokenizer
    from tutelage.teachers.prompted.questions import build_question, require_causal

    section = recipe.teacher
    if section.kind != "prompted":
        return None, []
    model = str(section.model)
    problems: list[Problem] = []

    def attempt(where: str, make: Callable[[], Value]) -> Value | None:
        try:
            return make()
        except ModelError as error:
            problems.append(Problem(where, str(error)))
            return None

    def read() -> tuple[Any, Any]:
        config = read_config(model, trust_remote_code=section.trust_remote_code)
        require_causal(config, name=model)
        return read_tokenizer(model, trust_remote_code=section.trust_remote_code), config

    found = attempt("teacher.model", read)
    options = attempt("teacher.shots", lambda: prompt_options(recipe, data))
    if found is None or options is None:
        return None, problems
    question = attempt("teacher", lambda: build_question(*found, recipe.task.labels, **options))
    return question, problems


def prompt_tokens(
    recipe: Recipe, data: Prepared, question: Question, *, texts: int
) -> tuple[float, float]:
    """Tokens that a prompted teacher runs beside the texts themselves.

    The shared beginning runs once; what follows each text, and the spellings of the labels, with
    every text.

    Args:
        recipe: From `tutelage.load_recipe`.
        data: Whose training rows a calibration reads.
        question: What is asked.
        texts: How many texts are labelled.

    Returns:
        Those of the prompts, and those of the calibration, its texts included.
    """
    from tutelage.teachers.prompted.calibration import CONTENT_FREE
    from tutelage.teachers.prompted.teacher import CALIBRATION_ROWS

    section = recipe.teacher
    assert section.kind == "prompted"
    lengths = [
        len(question.encode(part)) for part in (question.prompt.before, question.prompt.after)
    ]
    with_each = lengths[1] + len(question.trie.parents) - 1
    calibration = 0.0
    if section.calibration == "contextual":
        calibration = float(len(CONTENT_FREE) * with_each)
    elif section.calibration in ("batch", "fitted"):
        rows = [
            example
            for example in data.train
            if section.calibration == "batch" or example.label is not None
        ]
        read = min(CALIBRATION_ROWS, len(rows))
        calibration = read * (with_each + rough_tokens(rows) / max(1, len(rows)))
    return lengths[0] + texts * with_each, calibration


def rough_tokens(examples: Sequence[Example]) -> float:
    """How many tokens the texts of examples have, by a rule of thumb."""
    return sum(len(example.text) for example in examples) / CHARACTERS_PER_TOKEN + len(examples)
