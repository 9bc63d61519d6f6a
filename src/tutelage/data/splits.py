"""Setting examples aside, so that nothing that is set aside has been seen: rows hang together that
share a key, and whatever they reach through each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from tutelage.types import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SMALLEST_SHARED_CLASS = 3
"""A class with so many rows gives at least one of them to the held-out side."""


def split(
    examples: Sequence[Example], groups: Sequence[str | None] | None, share: float, *, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Set a share of the labelled examples aside.

    Rows with one text, or of one group, stay together: they are one unit, and so is whatever hangs
    together through them. Without groups every class gives its share, so that the class balance is
    kept; with groups the units are too coarse for that. Which units are set aside depends on the
    seed and their content, not on the order of the file.

    Args:
        examples: The examples; where some have a label, those without go along only with a labelled
            row of their unit.
        groups: For each example its group, None where it has none; None: no groups.
        share: The share of the labelled rows to set aside, above 0 and below 1.
        seed: Chooses the units.

    Returns:
        The positions that stay and the positions that are set aside, both ascending. Never more
        than the share is set aside, except that the least possible number of rows is always one
        unit.

    Raises:
        ValueError: The share is not between 0 and 1, or there are not two units, so one side would
            be empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share is {share}; expected a number above 0 and below 1")
    units = _units(examples, groups, seed)
    counted = [unit for unit in units if unit.size]
    if len(counted) < 2:
        kind = "texts" if groups is None else "groups"
        raise ValueError(
            f"too few rows: {len(examples):,} with {len(counted)} separate labelled {kind} cannot "
            f"spare {share:g} "
            f"away; add rows, or name a file instead of the share"
        )
    strata: dict[int | None, list[_Unit]] = {}
    for unit in counted:
        strata.setdefault(None if groups is not None else unit.label, []).append(unit)
    held = [unit for stratum in strata.values() for unit in _taken(stratum, share)]
    if not held:
        held = [min(counted, key=lambda unit: (unit.size, unit.order))]
    held_positions = {position for unit in held for position in unit.positions}
    kept = [position for position in range(len(examples)) if position not in held_positions]
    return kept, sorted(held_positions)


@dataclass(frozen=True, slots=True)
class _Unit:
    """Rows that must stay together. `size` counts the rows that matter for the share."""

    positions: list[int]
    size: int
    label: int | None
    order: bytes


def _units(
    examples: Sequence[Example], groups: Sequence[str | None] | None, seed: int
) -> list[_Unit]:
    keys: list[tuple[object, ...]] = [(example.text,) for example in examples]
    if groups is not None:
        keys = [
            own if group is None else (*own, ("group", group))
            for own, group in zip(keys, groups, strict=True)
        ]
    any_label = any(example.label is not None for example in examples)
    return [
        _unit([examples[one] for one in positions], positions, any_label, seed)
        for positions in members(keys)
    ]


def _unit(rows: Sequence[Example], positions: list[int], any_label: bool, seed: int) -> _Unit:
    labels = Counter(row.label for row in rows if row.label is not None)
    # The unit's name is its smallest content id, so that neither order nor file names move it.
    name = min(row.example_id for row in rows)
    return _Unit(
        positions=positions,
        size=labels.total() if any_label else len(rows),
        label=min(labels, key=lambda label: (-labels[label], label)) if labels else None,
        order=blake2b(name, digest_size=16, key=f"split {seed}".encode()).digest(),
    )


def _taken(stratum: list[_Unit], share: float) -> list[_Unit]:
    total = sum(unit.size for unit in stratum)
    target = round(share * total)
    if total >= _SMALLEST_SHARED_CLASS and len(stratum) > 1:
        target = max(target, 1)
    taken, size = [], 0
    for unit in sorted(stratum, key=lambda unit: unit.order):
        # The last unit of a class stays, so that training never loses a class to a split.
        if size + unit.size <= target and len(taken) < len(stratum) - 1:
            taken.append(unit)
            size += unit.size
    return taken


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
