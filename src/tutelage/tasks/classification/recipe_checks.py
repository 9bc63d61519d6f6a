"""What the sections of a classification recipe say against each other, told with their lines."""

from __future__ import annotations

from tutelage.config.source import Source
from tutelage.errors import Problem, nearest
from tutelage.tasks.objectives import objective_problems


def classification_problems(source: Source) -> list[Problem]:
    """What does not fit together, told from raw values so that nothing hides it.

    Args:
        source: A classification recipe as it was read.

    Returns:
        An error for each verbalizer that does not fit the labels, and for each key of an objective
        that has no meaning for its divergence.
    """
    return [*_verbalizer_problems(source), *objective_problems(source, "class_probabilities")]


def _verbalizer_problems(source: Source) -> list[Problem]:
    """Verbalizers must speak about exactly the task's labels."""
    labels, verbalizers = source.at("task", "labels"), source.at("teacher", "verbalizers")
    if not isinstance(labels, list) or not isinstance(verbalizers, dict):
        return []
    keys, problems = ("teacher", "verbalizers"), []
    for label in verbalizers:
        if label not in labels:
            guess = nearest(label, [one for one in labels if isinstance(one, str)])
            meant = (
                f"did you mean `{guess}`?"
                if guess
                else f"the labels are {', '.join(map(str, labels))}"
            )
            problems.append(
                Problem(
                    source.where((*keys, label)),
                    f"`teacher.verbalizers`: no label `{label}`; {meant}",
                )
            )
    if absent := [str(label) for label in labels if label not in verbalizers]:
        message = (
            f"`teacher.verbalizers` has no word for {', '.join(absent)}; give every label a word, "
            "or drop the section"
        )
        problems.append(Problem(source.where(keys), message))
    owner: dict[str, str] = {}
    for label, words in verbalizers.items():
        for word in words if isinstance(words, list) else [words]:
            if isinstance(word, str) and owner.setdefault(word, label) != label:
                message = (
                    f"`teacher.verbalizers`: `{word}` stands for both {owner[word]} and {label}; "
                    "choose another"
                )
                problems.append(Problem(source.where((*keys, label)), message))
    return problems
