"""Class names as a transformers configuration holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def label_names(labels: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """The two maps between class index and class name that pipelines print from.

    Args:
        labels: Class names in the order of the logits.

    Returns:
        `id2label` and `label2id`.

    Raises:
        ValueError: Fewer than two names, or one of them twice.

    Example:
        >>> label_names(["no", "yes"])
        ({0: 'no', 1: 'yes'}, {'no': 0, 'yes': 1})
    """
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError(f"labels are {list(labels)}: give at least two, all different")
    return dict(enumerate(labels)), {name: index for index, name in enumerate(labels)}


def are_generic(id2label: Mapping[int, str]) -> bool:
    """True if the names are the placeholders `LABEL_0`, `LABEL_1`, ... that transformers makes
    up.
    """
    return all(name == f"LABEL_{index}" for index, name in id2label.items())
