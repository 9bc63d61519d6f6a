"""New texts: really new, made of the words of their text, the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import augment
from tutelage.data.examples.augmentation import Augmentation

texts = st.lists(st.text("ab cd\n", max_size=30), max_size=8)


@settings(deadline=None)
@given(texts=texts, copies=st.integers(1, 5), seed=st.integers(0, 2))
def test_never_an_original_and_nothing_twice(texts: list[str], copies: int, seed: int) -> None:
    made = augment(texts, Augmentation(copies=copies), seed=seed)
    assert len(made) == len(set(made)) <= copies * len(texts)
    assert not set(made) & {" ".join(text.split()) for text in texts}
    assert not set(made) & set(texts)
    vocabulary = {word for text in texts for word in text.split()} | {"[MASK]"}
    assert all(
        set(new.split()) <= vocabulary and set(new.split()) != {"[MASK]"} and new for new in made
    )
    assert augment(texts, Augmentation(copies=copies), seed=seed) == made


SENTENCE = "the quick brown fox jumps over the lazy dog near the quiet river bank"


def test_what_comes_from_a_text_does_not_depend_on_its_neighbours() -> None:
    alone = augment([SENTENCE], Augmentation(copies=3), seed=0)
    assert set(alone) <= set(
        augment(["one two three four five six", SENTENCE], Augmentation(copies=3), seed=0)
    )
    assert len(alone) == 3


def test_seeds_differ_and_seed_zero_is_a_seed() -> None:
    assert (
        len({tuple(augment([SENTENCE], Augmentation(copies=4), seed=seed)) for seed in (0, 1, 2)})
        == 3
    )


def test_masking_alone_keeps_every_position() -> None:
    words = SENTENCE.split()
    made = augment([SENTENCE], Augmentation(copies=200, word_mask=0.3, ngram=0, mask_token="<m>"))
    share = sum(new.split().count("<m>") for new in made) / (len(made) * len(words))
    assert all(
        one in (word, "<m>") for new in made for word, one in zip(words, new.split(), strict=True)
    )
    assert 0.25 < share < 0.35


def test_ngrams_alone_are_runs_of_the_text_with_every_length() -> None:
    made = augment(
        [SENTENCE], Augmentation(copies=40, word_mask=0, ngram=1, ngram_min=2, ngram_max=4)
    )
    assert all(f" {new} " in f" {SENTENCE} " for new in made)
    assert {len(new.split()) for new in made} == {2, 3, 4}


def test_numbers_out_of_range() -> None:
    for wrong in (
        {"copies": 0},
        {"ngram_min": 3, "ngram_max": 2},
        {"word_mask": 1.5},
        {"ngram": -1},
        {"ngram_min": 0},
    ):
        with pytest.raises(ValueError, match=r"(copies|ngram|word_mask).* (is|is above) "):
            Augmentation(**{"copies": 1, **wrong})  # type: ignore[arg-type]
