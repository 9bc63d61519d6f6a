"""What keeps teacher and students of a causal_lm recipe from working together, told from
configurations alone.

In: a recipe with its data. Out: problems. Configurations and tokenizers are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.models import load_tokenizer, model_config, require_same_tokenizer
from tutelage.models.reading import read_config
from tutelage.students import language_parameters, needed_ids
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.teaching import teacher_spec
from tutelage.tasks.language.training import trims_vocabulary, used_ids


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
    recipe: LanguageRecipe, data: PreparedDocuments, tokenizer: Any
) -> list[Problem]:
    """What keeps teacher and students of a recipe from working together, told from configurations
    alone.
    """
    problems: list[Problem] = []
    config = teacher_spec(recipe).config()
    context = getattr(config, "max_position_embeddings", None)
    if context is not None and recipe.task.sequence_length > context:
        problems.append(
            Problem(
                "task.sequence_length",
                f"is {recipe.task.sequence_length} but the teacher reads at most {context} tokens: "
                "lower it",
            )
        )
    section = recipe.teacher
    if reason := _no_language_model(
        str(section.model), trust_remote_code=section.trust_remote_code
    ):
        return [*problems, Problem("teacher.model", reason)]
    problems += _tokens_without_rows(data, config, tokenizer)
    texts = [tokenizer.decode(document.token_ids) for document in data.train[:20]]
    for name, student in recipe.students.items():
        where = f"students.{name}"
        if student.kind == "pretrained":
            problems += [
                Problem(f"{where}.model", reason)
                for reason in _pretrained_problems(
                    recipe, str(student.model), config, tokenizer, texts, name=name
                )
            ]
        else:
            problems += _size_problems(student, config, where)
        rowless = len(tokenizer) > config.vocab_size
        if trims_vocabulary(student):
            try:
                needed_ids(tokenizer, used_ids(data), config=config)
            except ModelError as error:
                problems.append(Problem(f"{where}.vocabulary", str(error)))
            if rowless:
                problems.append(
                    Problem(
                        f"{where}.vocabulary",
                        f"the teacher has rows for {config.vocab_size:,} of the {len(tokenizer):,} "
                        "tokens of its "
                        "tokenizer only: resize its embeddings and save it again, or set "
                        "vocabulary: full",
                    )
                )
        if (
            student.kind == "rnn" or student.kind == "transformer"
        ) and student.embeddings == "teacher":
            width = getattr(student, "embedding_size", None) or student.hidden_size
            if rowless:
                problems.append(
                    Problem(
                        f"{where}.embeddings",
                        f"the teacher has embeddings for {config.vocab_size:,} of the "
                        f"{len(tokenizer):,} tokens of its "
                        "tokenizer only: resize and save it again, or set embeddings: random",
                    )
                )
            if width > config.hidden_size:
                problems.append(
                    Problem(
                        where,
                        f"is {width} wide but the teacher's embeddings have {config.hidden_size} "
                        "values, and none can "
                        "be made up: take a narrower student or embeddings: random",
                    )
                )
        if getattr(student, "hidden_weight", 0.0) and recipe.targets.kind not in ("hidden", "live"):
            problems.append(
                Problem(
                    f"{where}.hidden_weight",
                    "needs the teacher's hidden states, which targets of kind "
                    f"{recipe.targets.kind} do not hold: set "
                    "targets.kind to hidden or live",
                )
            )
    return problems


def _pretrained_problems(
    recipe: LanguageRecipe,
    model: str,
    teacher: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    name: str,
) -> Iterator[str]:
    """Why a model with weights cannot be a student."""
    try:
        require_same_tokenizer(tokenizer, load_tokenizer(model), texts, name=name)
        config = model_config(model)
    except ModelError as error:
        yield str(error)
        return
    if reason := _no_language_model(model):
        yield reason
        return
    tokens = min(len(tokenizer), teacher.vocab_size)
    if config.vocab_size < tokens:
        yield (
            f"has {config.vocab_size:,} rows in its output matrix, but the teacher speaks of "
            f"{tokens:,} tokens: save "
            "the student's model and its tokenizer together"
        )
    reads = getattr(config, "max_position_embeddings", None)
    if reads is not None and recipe.task.sequence_length > reads:
        yield (
            f"reads at most {reads} tokens but task.sequence_length is "
            f"{recipe.task.sequence_length}: lower it, or "
            "take a student that reads more"
        )


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


def _no_language_model(spec: str, *, trust_remote_code: bool = False) -> str | None:
    """Why a model does not predict next tokens; None: it does."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    whole = read_config(spec, trust_remote_code=trust_remote_code)
    for config in (
        whole,
        whole.get_text_config(),
    ):  # of a model that sees, too, either may be the known one
        own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
        reads_both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(
            config, "is_decoder", False
        )
        if own_code or (type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not reads_both_ways):
            return None
    return f"is of the kind {whole.model_type}, which does not predict a text token by token: give a causal language model"


def _size_problems(student: Any, config: Any, where: str) -> list[Problem]:
    """Why there can be no student of such sizes."""
    try:
        language_parameters(student, config)
    except (ModelError, ValueError) as error:
        return [Problem(where, str(error))]
    return []
