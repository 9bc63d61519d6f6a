"""What the sections of a classification recipe say against each other, told with their lines."""

from __future__ import annotations

from tutelage.config.source import Source
from tutelage.errors import Problem
from tutelage.tasks.recipe import objective_problems
from tutelage.tasks.teachers import verbalizer_problems


def classification_problems(source: Source) -> list[Problem]:
    """What does not fit together, told from raw values so that nothing hides it.

    Args:
        source: A classification recipe as it was read.

    Returns:
        An error for each verbalizer that does not fit the labels, and for each key of an objective
        that has no meaning for its divergence.
    """
    return [*verbalizer_problems(source), *objective_problems(source, "class_probabilities")]
