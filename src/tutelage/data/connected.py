"""Rows that hang together: those that share a key, and whatever they reach through each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def connected(keys: Sequence[Sequence[Hashable]]) -> NDArray[np.int64]:
    """Number the groups of rows that hang together through equal keys.

    Args:
        keys: For each of N rows its keys, such as its text and the group it was given. Two rows
            with an equal key are in one group, and so are two that a chain of such pairs joins.

    Returns:
        For each row the number of its group, `[N]`, counted from 0 in order of appearance.

    Example:
        >>> connected([["a"], ["b"], ["c", "a"], ["b", "d"]]).tolist()
        [0, 1, 0, 1]
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[Hashable, int] = {}
    columns = [numbers.setdefault(key, len(numbers)) for own in keys for key in own]
    rows = np.repeat(np.arange(len(keys)), np.array([len(own) for own in keys], np.int64))
    size = len(keys) + len(numbers)  # rows and keys are the points of one graph
    links = coo_array(
        (np.ones(len(columns), np.bool_), (rows, len(keys) + np.array(columns, np.int64))),
        shape=(size, size),
    )
    _, groups = connected_components(links, directed=False)
    _, first, group_of = np.unique(groups[: len(keys)], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group_of]


def members(keys: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """The positions of each group of `connected`, ascending, the groups in order of appearance."""
    groups: dict[int, list[int]] = {}
    for position, group in enumerate(connected(keys).tolist()):
        groups.setdefault(group, []).append(position)
    return list(groups.values())
