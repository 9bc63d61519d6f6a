"""What keeps teacher and students of a causal_lm recipe from working together, told from configurations alone.

In: a recipe with its data. Out: problems. Configurations and tokenizers are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.config import LanguageRecipe
from tutelage.data import PreparedDocuments
from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.recipes.language_training import trims_vocabulary, used_ids
from tutelage.students import language_parameters, needed_ids
from tutelage.teachers import load_tokenizer, model_config, require_same_tokenizer


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
    unfit = [Problem("teacher.model", reason) for reason in _no_language_model(config, tokenizer)]
    if unfit:
        return [*problems, *unfit]
    texts = [tokenizer.decode(document.token_ids) for document in data.train[:20]]
    for name, student in recipe.students.items():
        where = f"students.{name}"
        if student.kind == "pretrained":
            problems += [
                Problem(f"{where}.model", reason)
                for reason in _pretrained_problems(recipe, str(student.model), tokenizer, texts, name=name)
            ]
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


def _pretrained_problems(
    recipe: LanguageRecipe, model: str, tokenizer: Any, texts: Sequence[str], *, name: str
) -> Iterator[str]:
    """Why a model with weights cannot be a student."""
    try:
        require_same_tokenizer(tokenizer, load_tokenizer(model), texts, name=name)
        config = model_config(model)
    except ModelError as error:
        yield str(error)
        return
    yield from _no_language_model(config, tokenizer)
    reads = getattr(config, "max_position_embeddings", None)
    if reads is not None and recipe.task.sequence_length > reads:
        yield (
            f"reads at most {reads} tokens but task.sequence_length is {recipe.task.sequence_length}: lower it, or "
            "take a student that reads more"
        )


def _no_language_model(config: Any, tokenizer: Any) -> Iterator[str]:
    """Why a model does not predict next tokens, or not those of its tokenizer."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    reads_both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
    if reads_both_ways or not (own_code or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING):
        yield (
            f"is of the kind {config.model_type}, which does not predict a text token by token: give a causal language "
            "model"
        )
    elif config.vocab_size < len(tokenizer):
        yield (
            f"has {config.vocab_size:,} rows in its output matrix but {len(tokenizer):,} tokens in its tokenizer: save "
            "model and tokenizer together"
        )


def _size_problems(student: Any, config: Any, where: str) -> list[Problem]:
    """Why there can be no student of such sizes."""
    try:
        language_parameters(student, config)
    except (ModelError, ValueError) as error:
        return [Problem(where, str(error))]
    return []
