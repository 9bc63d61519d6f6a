"""How many weights a language-model student will have, before there is one.

In: a student's description, and the configuration of its teacher. Out: a number. No weights are
made or read.
"""

from __future__ import annotations

from typing import Any

from tutelage.models.loading import empty_model
from tutelage.students.language.student import LanguageStudent


def language_parameters(
    student: LanguageStudent, teacher_config: Any, *, vocabulary: int | None = None
) -> int:
    """Number of weights of a student, tied ones once, adapters merged.

    Args:
        student: Its description.
        teacher_config: The teacher's configuration of transformers.
        vocabulary: Number of tokens of the student; None means as many as the teacher has rows,
            which is the most that it can be.

    Returns:
        The number of weights.

    Raises:
        ModelError: The teacher cannot be pruned, or the student's folder cannot be read.
        ValueError: Sizes that do not fit.
    """
    config = student.config(teacher_config, vocabulary=vocabulary)
    return sum(parameter.numel() for parameter in empty_model(config).parameters())
