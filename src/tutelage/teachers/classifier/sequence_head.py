"""The classification head that a model brings: whether it is there, and which of its outputs is
which label.
"""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.errors import ModelError
from tutelage.models.loading import LanguageModel


def require_sequence_head(language_model: LanguageModel, labels: Sequence[str]) -> None:
    """Refuse a model that was loaded without a classification head of so many outputs.

    Raises:
        ModelError: It was.
    """
    outputs = getattr(language_model.model.config, "num_labels", 0)
    if not type(language_model.model).__name__.endswith(
        "ForSequenceClassification"
    ) or outputs != len(labels):
        raise ModelError(
            f"{language_model.name} was loaded as {type(language_model.model).__name__} with "
            f"{outputs} outputs; "
            f"expected a sequence-classification head with {len(labels)}: "
            'load_language_model(..., head="sequence", labels=labels)'
        )


def output_columns(language_model: LanguageModel, labels: Sequence[str]) -> list[int]:
    """Which output of a fitted classifier belongs to each label.

    Raises:
        ModelError: It has no head, or classifies into others.
    """
    require_sequence_head(language_model, labels)
    named = {str(name): int(index) for index, name in language_model.model.config.id2label.items()}
    if set(named) != set(labels):
        raise ModelError(
            f"{language_model.name} classifies as {sorted(named)}, but the labels here are "
            f"{list(labels)}; name "
            "the task's labels as the model does, or correct id2label in its config.json"
        )
    return [named[label] for label in labels]
