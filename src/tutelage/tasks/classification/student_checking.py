"""What keeps the students of a recipe from being built, told before the teacher is asked for
anything.

In: a recipe, and the size and shape of its teacher. Out: problems. Configurations and tokenizers
are read, weights are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.models import ModelFacts
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.teaching import assignment_of, teacher_spec


def require_students(recipe: Recipe, facts: ModelFacts | None) -> None:
    """Refuse a recipe with students that cannot be built.

    Raises:
        RecipeError: Every one of their problems.
    """
    problems = student_problems(recipe, facts)
    if problems:
        raise RecipeError(problems)


def student_problems(recipe: Recipe, facts: ModelFacts | None) -> list[Problem]:
    """Everything about the students that would be refused once they are built.

    Args:
        recipe: From `tutelage.load_recipe`.
        facts: Of the teacher's language model; None where it cannot be read, which is a problem of
            its own.

    Returns:
        One problem for each key that must change.
    """
    problems: list[Problem] = []
    for name, student in recipe.students.items():
        if student.kind == "pretrained":
            found = _pretrained_problems(recipe, student)
        else:
            found = [*_size_problems(student), *_teacher_problems(student, facts)]
        problems += [Problem(f"students.{name}.{key}", message) for key, message in found]
    trimmed = [
        name
        for name, student in recipe.students.items()
        if student.kind != "pretrained" and student.tokenizer.kind == "teacher"
    ]
    if trimmed and facts is not None:
        message = _refused(lambda: _require_trimmable(recipe))
        problems += [
            Problem(f"students.{name}.tokenizer", message)
            for name in trimmed
            if message is not None
        ]
    return problems


def _pretrained_problems(recipe: Recipe, student: Any) -> Iterator[tuple[str, str]]:
    """A model that is not there, is of another kind, or classifies into other labels."""
    from tutelage.models import model_facts
    from tutelage.students.classifier.pretrained import read_pretrained

    def read() -> None:
        read_pretrained(student.model, labels=recipe.task.labels)
        model_facts(str(student.model))

    message = _refused(read)
    if message is not None:
        yield "model", message


def _size_problems(student: Any) -> Iterator[tuple[str, str]]:
    """Sizes that do not go together, whatever the teacher."""
    from tutelage.students.classifier.transformer import attention_heads
    from tutelage.students.vocabulary.training import smallest_vocabulary

    is_transformer = student.kind == "transformer"
    if is_transformer:
        message = _refused(lambda: attention_heads(student.hidden_size, student.heads))
        if message is not None:
            yield "hidden_size", message
    tokenizer = student.tokenizer
    if tokenizer.kind != "teacher":
        least = smallest_vocabulary(tokenizer.kind, boundaries=is_transformer)
        if tokenizer.vocabulary_size < least:
            yield (
                "tokenizer.vocabulary_size",
                f"is {tokenizer.vocabulary_size}, but special tokens and single letters need "
                f"{least}: raise it",
            )


def _teacher_problems(student: Any, facts: ModelFacts | None) -> Iterator[tuple[str, str]]:
    """Embeddings that the teacher does not have."""
    if facts is None or student.embeddings == "random":
        return
    key = "embedding_size" if student.kind == "rnn" else "hidden_size"
    width, widest = getattr(student, key), facts.embedding_width
    if widest is not None and width > widest:
        yield (
            key,
            f"is {width}, but the teacher's embeddings are only {widest} wide: choose at most "
            f"{widest}, or embeddings: "
            "random",
        )
    layer = student.embeddings_layer if student.embeddings == "teacher_contextual" else None
    if layer is not None and facts.layers is not None and layer > facts.layers:
        yield (
            "embeddings_layer",
            f"is {layer}, but the teacher has {facts.layers} layers: give 0 to {facts.layers}, or "
            "leave it out",
        )


def _require_trimmable(recipe: Recipe) -> None:
    from tutelage.students.vocabulary.trimming import byte_level_state

    byte_level_state(teacher_spec(recipe).tokenizer(assignment_of(recipe)))


def _refused(attempt: Callable[[], Any]) -> str | None:
    """What an attempt was refused with; None if it was not."""
    try:
        attempt()
    except (ModelError, ValueError) as error:
        return str(error)
    return None
