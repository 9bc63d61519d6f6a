"""Rows that share a key are one group, and so are rows that a chain of shared keys joins."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.splits import connected, members

keys = st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=3), max_size=25)


def by_the_definition(rows: Sequence[Sequence[Hashable]]) -> list[int]:
    """Every row starts alone; groups that share a key are put together until none do."""
    groups = [{position} for position in range(len(rows))]
    while pair := next(
        (
            (one, other)
            for one in groups
            for other in groups
            if one is not other
            and {key for row in one for key in rows[row]}
            & {key for row in other for key in rows[row]}
        ),
        None,
    ):
        groups = [group for group in groups if group not in pair] + [pair[0] | pair[1]]
    ordered = sorted(groups, key=min)
    return [next(n for n, group in enumerate(ordered) if row in group) for row in range(len(rows))]


@settings(deadline=None, max_examples=60)
@given(keys)
def test_groups_are_those_of_the_definition(rows: list[list[int]]) -> None:
    assert connected(rows).tolist() == by_the_definition(rows)


def test_members_are_in_order_of_appearance() -> None:
    assert members([["b"], ["a"], ["b", "c"], ["c"], ["a"]]) == [[0, 2, 3], [1, 4]]
    assert members([]) == []


def test_a_text_and_a_group_of_one_name_are_two_keys() -> None:
    assert members([["x"], [("group", "x")]]) == [[0], [1]]
