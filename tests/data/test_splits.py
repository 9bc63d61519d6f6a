"""What a split promises: nothing straddles, classes keep their share, order does not matter."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tutelage.data import split
from tutelage.types import Example

rows = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([0, 1, 2, None])), min_size=2, max_size=60
)
shares = st.floats(0.05, 0.5)


def examples_of(pairs: list[tuple[int, int | None]]) -> list[Example]:
    return [Example(f"text {number}", label=label) for number, label in pairs]


def rows_that_can_split(pairs: list[tuple[int, int | None]]) -> bool:
    labelled = {number for number, label in pairs if label is not None}
    return len(labelled) > 1 or (not labelled and len({number for number, _ in pairs}) > 1)


@settings(deadline=None)
@given(pairs=rows, share=shares, seed=st.integers(0, 3))
def test_a_partition_in_which_no_text_straddles(
    pairs: list[tuple[int, int | None]], share: float, seed: int
) -> None:
    assume(rows_that_can_split(pairs))
    examples = examples_of(pairs)
    kept, held = split(examples, None, share, seed=seed)
    assert sorted(kept + held) == list(range(len(examples)))
    assert held
    assert not {examples[i].text for i in kept} & {examples[i].text for i in held}
    if any(label is not None for _, label in pairs):
        assert any(examples[i].label is not None for i in held)


@settings(deadline=None)
@given(pairs=rows, share=shares, data=st.data())
def test_neither_groups_nor_texts_straddle(
    pairs: list[tuple[int, int | None]], share: float, data: st.DataObject
) -> None:
    groups = data.draw(
        st.lists(
            st.sampled_from(["a", "b", "c", "d", None]), min_size=len(pairs), max_size=len(pairs)
        )
    )
    examples = examples_of(pairs)
    try:
        kept, held = split(examples, groups, share, seed=0)
    except ValueError:
        return
    assert sorted(kept + held) == list(range(len(examples)))
    assert not {examples[i].text for i in kept} & {examples[i].text for i in held}
    assert not ({groups[i] for i in kept} & {groups[i] for i in held}) - {None}


@settings(deadline=None)
@given(pairs=rows, share=shares, order=st.randoms(use_true_random=False))
def test_order_of_the_file_does_not_matter(
    pairs: list[tuple[int, int | None]], share: float, order: random.Random
) -> None:
    assume(rows_that_can_split(pairs))
    labels = dict(pairs)  # one label for each text, so that equal rows are equal
    examples = examples_of([(number, labels[number]) for number, _ in pairs])
    assume(rows_that_can_split([(number, labels[number]) for number, _ in pairs]))
    shuffled = order.sample(examples, len(examples))
    first = Counter(examples[i] for i in split(examples, None, share, seed=1)[1])
    assert Counter(shuffled[i] for i in split(shuffled, None, share, seed=1)[1]) == first


def test_every_class_gives_its_share() -> None:
    examples = [
        Example(f"{label} {n}", label=label)
        for label, size in enumerate((200, 50, 10))
        for n in range(size)
    ]
    _, held = split(examples, None, 0.1, seed=0)
    assert Counter(examples[i].label for i in held) == {0: 20, 1: 5, 2: 1}


def test_groups_give_about_the_share_and_never_more() -> None:
    examples = [Example(f"t{n}", label=n % 2) for n in range(100)]
    kept, held = split(examples, [str(n // 3) for n in range(100)], 0.2, seed=0)
    assert 18 <= len(held) <= 20
    assert len(kept) + len(held) == 100


def test_seeds_differ_and_seed_zero_is_a_seed() -> None:
    examples = [Example(f"t{n}", label=n % 2) for n in range(40)]
    sides = [tuple(split(examples, None, 0.25, seed=seed)[1]) for seed in (0, 1, 2)]
    assert len(set(sides)) == 3
    assert sides[0] == tuple(split(examples, None, 0.25, seed=0)[1])


def test_unlabelled_rows_stay_unless_their_text_is_held_out() -> None:
    examples = [Example(f"t{n}", label=0 if n < 10 else 1) for n in range(20)]
    examples += [Example(f"t{n}") for n in range(20)] + [Example(f"u{n}") for n in range(50)]
    kept, held = split(examples, None, 0.2, seed=0)
    assert len([i for i in held if examples[i].label is not None]) == 4
    assert len(held) == 8
    assert all(i in kept for i in range(40, 90))


def test_too_few_rows() -> None:
    with pytest.raises(
        ValueError, match=r"too few rows: 2 with 1 separate labelled texts cannot spare 0\.1"
    ):
        split([Example("a", label=0), Example("a", label=1)], None, 0.1)
    with pytest.raises(ValueError, match="1 separate labelled groups"):
        split([Example("a", label=0), Example("b", label=1)], ["g", "g"], 0.1)
    with pytest.raises(ValueError, match="the share is 1; expected a number above 0 and below 1"):
        split([Example("a"), Example("b")], None, 1)
