"""The texts that students of a classification learn from."""

from __future__ import annotations

from tutelage.data import Prepared, augment
from tutelage.tasks.classification.recipe import Recipe
from tutelage.types import Example

AUGMENTED = "augmented"
"""Source of texts that were made from training texts."""


def transfer_set(recipe: Recipe, data: Prepared) -> list[Example]:
    """The texts that students learn from: labelled rows, unlabeled rows, augmented copies; each
    text once.
    """
    examples = [*data.train, *data.unlabeled]
    settings = recipe.data.augment
    if settings is not None:
        texts = augment(
            [example.text for example in data.train], settings.spec(), seed=recipe.train.seed
        )
        examples += [
            Example(text=text, source=AUGMENTED, row=row) for row, text in enumerate(texts, start=1)
        ]
    judged = {example.example_id for example in (*data.validation, *data.test)}
    examples = [
        example
        for example in examples
        if example.source != AUGMENTED or example.example_id not in judged
    ]
    unique: dict[bytes, Example] = {}
    for example in examples:
        known = unique.get(example.example_id)
        if known is None or (known.label is None and example.label is not None):
            unique[example.example_id] = example
    return list(unique.values())
