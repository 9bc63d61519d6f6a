"""What keeps a prompted teacher from being asked, told before its weights are loaded, and how long
its prompts are.

In: its options and its assignment. Out: the question in the model's own tokens, or problems.
Configuration and tokenizer are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tutelage.errors import ModelError, Problem
from tutelage.models.reading import read_config
from tutelage.teachers.prompted.calibration import CONTENT_FREE
from tutelage.teachers.prompted.questions import Question, build_question, require_causal
from tutelage.teachers.prompted.teacher import CALIBRATION_ROWS
from tutelage.teachers.spec import ClassAssignment, rough_tokens

if TYPE_CHECKING:
    from tutelage.teachers.prompted.spec import PromptedTeacherSpec

Value = TypeVar("Value")


def missing_labels(spec: PromptedTeacherSpec, assignment: ClassAssignment) -> list[Problem]:
    """What the options ask for that only labelled rows can give, where there are none."""
    if any(example.label is not None for example in assignment.rows):
        return []
    wishes = {
        "shots": (spec.shots > 0, "shots are labelled: set 0"),
        "calibration": (
            spec.calibration == "fitted",
            "it is fitted to labels: choose batch, which needs none",
        ),
    }
    return [
        Problem(key, f"no training row has a label, but {why}")
        for key, (asked, why) in wishes.items()
        if asked
    ]


def require_continues(model: str, *, trust_remote_code: bool) -> None:
    """Refuse a model that does not continue text.

    Raises:
        ModelError: It does not, or is not there.
    """
    require_causal(read_config(model, trust_remote_code=trust_remote_code), name=model)


def find_question(
    spec: PromptedTeacherSpec, assignment: ClassAssignment
) -> tuple[Question | None, list[Problem]]:
    """The question that a teacher would ask its model, or why it cannot.

    Args:
        spec: Its options.
        assignment: Whose rows the shots are drawn from.
    """
    problems: list[Problem] = []

    def attempt(where: str, make: Callable[[], Value]) -> Value | None:
        try:
            return make()
        except ModelError as error:
            problems.append(Problem(where, str(error)))
            return None

    def read() -> tuple[Any, Any]:
        config = read_config(spec.model, trust_remote_code=spec.trust_remote_code)
        require_causal(config, name=spec.model)
        return spec.tokenizer(assignment, convert=False), config

    found = attempt("model", read)
    options = attempt("shots", lambda: spec.prompt(assignment))
    if found is None or options is None:
        return None, problems
    question = attempt("", lambda: build_question(*found, assignment.labels, **options))
    return question, problems


def prompt_tokens(
    spec: PromptedTeacherSpec, assignment: ClassAssignment, question: Question, *, texts: int
) -> tuple[float, float]:
    """Tokens that a teacher runs beside the texts themselves.

    The shared beginning runs once; what follows each text, and the spellings of the labels, with
    every text.

    Args:
        spec: Its options.
        assignment: Whose rows a calibration reads.
        question: What is asked.
        texts: How many texts are labelled.

    Returns:
        Those of the prompts, and those of the calibration, its texts included.
    """
    lengths = [
        len(question.encode(part)) for part in (question.prompt.before, question.prompt.after)
    ]
    with_each = lengths[1] + len(question.trie.parents) - 1
    calibration = 0.0
    if spec.calibration == "contextual":
        calibration = float(len(CONTENT_FREE) * with_each)
    elif spec.reads_rows_to_calibrate:
        rows = [
            example
            for example in assignment.rows
            if spec.calibration == "batch" or example.label is not None
        ]
        read = min(CALIBRATION_ROWS, len(rows))
        calibration = read * (with_each + rough_tokens(rows) / max(1, len(rows)))
    return lengths[0] + texts * with_each, calibration
