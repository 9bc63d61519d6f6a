"""What keeps teacher and students of a causal_lm recipe from working together, told from
configurations alone.

In: a recipe with its data. Out: problems. Configurations and tokenizers are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.errors import Problem, RecipeError
from tutelage.models import context_tokens
from tutelage.students.language.pretrained import writes_no_text
from tutelage.students.language.student import Teaching
from tutelage.tasks.language.data import teacher_spec
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.training import used_ids

COMPARED_TEXTS = 20
"""Training documents on which the tokenizers of teacher and student are compared."""


def require_language_students(
    recipe: LanguageRecipe, data: PreparedDocuments, tokenizer: Any
) -> None:
    """Refuse students that cannot be made, before anything is computed.

    Raises:
        RecipeError: Every one of them.
    """
    problems = language_student_problems(recipe, data, tokenizer)
    if problems:
        raise RecipeError(problems)


def language_student_problems(
    recipe: LanguageRecipe,
    data: PreparedDocuments,
    tokenizer: Any,
    *,
    texts: Sequence[str] | None = None,
) -> list[Problem]:
    """What keeps teacher and students of a recipe from working together, told from configurations
    alone.

    Args:
        recipe: The recipe.
        data: Its documents.
        tokenizer: The teacher's.
        texts: On which tokenizers are compared; None: those of training documents.
    """
    if texts is None:
        texts = [tokenizer.decode(document.token_ids) for document in data.train[:COMPARED_TEXTS]]
    problems: list[Problem] = []
    spec = teacher_spec(recipe)
    config = spec.config()
    if spec.has_weights:
        problems += _teacher_problems(recipe, config)
        if any(problem.where == "teacher.model" for problem in problems):
            return problems
    problems += _tokens_without_rows(data, config, tokenizer)
    teaching = Teaching(
        config=config,
        tokenizer=tokenizer,
        texts=texts,
        used_ids=used_ids(data),
        sequence_length=recipe.task.sequence_length,
    )
    for name, student in recipe.students.items():
        spec = student.spec()
        for option, message in spec.problems(teaching, name=name):
            where = f"students.{name}.{option}" if option else f"students.{name}"
            problems.append(Problem(where, message))
        if spec.hidden_weight and recipe.targets.kind not in ("hidden", "live"):
            problems.append(
                Problem(
                    f"students.{name}.hidden_weight",
                    "needs the teacher's hidden states, which targets of kind "
                    f"{recipe.targets.kind} do not hold: set targets.kind to hidden or live",
                )
            )
    return problems


def _teacher_problems(recipe: LanguageRecipe, config: Any) -> Iterator[Problem]:
    """A teacher that reads too little, or does not predict text at all."""
    context = context_tokens(config)
    if context is not None and recipe.task.sequence_length > context:
        yield Problem(
            "task.sequence_length",
            f"is {recipe.task.sequence_length} but the teacher reads at most {context} tokens: "
            "lower it",
        )
    section = recipe.teacher
    if reason := writes_no_text(str(section.model), trust_remote_code=section.trust_remote_code):
        yield Problem("teacher.model", reason)


def _tokens_without_rows(data: PreparedDocuments, config: Any, tokenizer: Any) -> Iterator[Problem]:
    """Documents with a token that the teacher's tokenizer knows and its matrix has no row for."""
    if len(tokenizer) <= config.vocab_size:
        return
    for document in (*data.train, *data.validation, *data.test):
        highest = int(document.token_ids.max(initial=0))
        if highest >= config.vocab_size:
            yield Problem(
                "teacher.model",
                f"its tokenizer has {len(tokenizer):,} tokens, its matrix {config.vocab_size:,} "
                "rows, and "
                f"{document.source or 'a document'} row {document.row} holds "
                f"{tokenizer.decode([highest])!r}, which "
                "has none: resize the model's embeddings and save it again",
            )
            return
