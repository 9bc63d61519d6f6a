"""Texts as tokens: what trains, what each token spells, and what becomes of long texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.tiny_tokenizer import make_tokenizer

from tutelage.data.documents.tokenizing import Tokens, Trainable, cut, tokenize
from tutelage.errors import DataError

texts = st.text(
    st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20
) | st.sampled_from(["the cat sat on the mat", "é😀 naïve", " the  dog\n\n", "\ttab"])


def only(tokenizer: Any, text: Trainable) -> Tokens:
    (tokens,) = tokenize(tokenizer, [text])
    return tokens


def spelled(tokenizer: Any, ids: Any) -> str:
    return tokenizer.decode([int(one) for one in ids], clean_up_tokenization_spaces=False)


def test_plain_text_stands_between_the_tokens_of_its_ends(tokenizer: Any) -> None:
    tokens = only(tokenizer, Trainable("the cat sat", enclosed=True))
    inside = tokenizer("the cat sat", add_special_tokens=False)["input_ids"]
    assert tokens.ids.tolist() == [tokenizer.bos_token_id, *inside, tokenizer.eos_token_id]
    assert tokens.ids.dtype == np.int32
    assert tokens.trained.tolist() == [False, *[True] * len(inside), True]
    assert tokens.num_bytes.sum() == len("the cat sat")
    assert (tokens.num_bytes[0], tokens.num_bytes[-1]) == (0, 0)


def test_end_of_text_begins_where_there_is_no_other_token() -> None:
    tokenizer = make_tokenizer(bos_token=None)
    tokens = only(tokenizer, Trainable("the", enclosed=True))
    assert tokens.ids[0] == tokens.ids[-1] == tokenizer.eos_token_id


def test_without_either_the_first_token_of_the_text_only_conditions() -> None:
    tokenizer = make_tokenizer(bos_token=None, eos_token=None)
    tokens = only(tokenizer, Trainable("the cat", enclosed=True))
    assert spelled(tokenizer, tokens.ids) == "the cat"
    assert not tokens.trained[0]
    assert tokens.trained[1:].all()
    assert tokens.num_bytes[tokens.trained].sum() == len(" cat")


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(texts, min_size=1, max_size=4), data=st.data())
def test_spans_cover_what_they_name_and_bytes_add_up(
    tokenizer: Any, parts: list[str], data: st.DataObject
) -> None:
    text = "".join(parts)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    ends = np.cumsum([len(part) for part in parts]).tolist()
    spans = tuple(
        (end - len(part), end) for part, end, one in zip(parts, ends, chosen, strict=True) if one
    )
    tokens = only(tokenizer, Trainable(text, spans, enclosed=True))
    assert tokens.num_bytes.sum() == len(text.encode())
    assert (tokens.num_bytes >= 0).all()
    wanted = sum(len(text[start:end].encode()) for start, end in spans)
    # A token across the border of a span trains as a whole, so somewhat more than the spans may be
    # spelled.
    assert tokens.num_bytes[tokens.trained].sum() >= wanted
    whole = only(tokenizer, Trainable(text, enclosed=True))
    assert np.array_equal(whole.ids, tokens.ids)
    assert (whole.trained | ~tokens.trained).all()


def test_a_token_across_the_border_belongs_to_the_response(tokenizer: Any) -> None:
    text = "the cat"  # " cat" is one token, and the space is the prompt's
    tokens = only(tokenizer, Trainable(text, ((4, 7),), enclosed=True))
    assert spelled(tokenizer, tokens.ids[tokens.trained][:-1]) == " cat"
    assert tokens.num_bytes[tokens.trained].sum() == 4


def test_characters_of_several_tokens_are_counted_once(tokenizer: Any) -> None:
    tokens = only(tokenizer, Trainable("a😀é", enclosed=True))
    assert len(tokens.ids) > 5
    assert tokens.num_bytes.sum() == 1 + 4 + 2


def test_control_tokens_spell_nothing(tokenizer: Any) -> None:
    tokens = only(tokenizer, Trainable("the<|im_end|>\ncat"))
    assert tokens.num_bytes.sum() == len("the\ncat")
    assert not tokens.trained[0]


def test_a_tokenizer_that_knows_no_places_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(DataError, match=r"Slow does not tell where .* expected a fast tokenizer"):
        list(tokenize(Slow(), [Trainable("x")]))


def numbered(length: int) -> Tokens:
    trained = np.ones(length, dtype=np.bool_)
    trained[0] = False
    return Tokens(np.arange(length, dtype=np.int32), trained, np.ones(length, dtype=np.int32))


@settings(max_examples=60, deadline=None)
@given(length=st.integers(2, 40), most=st.integers(2, 12))
def test_pieces_are_the_text_in_order(length: int, most: int) -> None:
    pieces = cut(numbered(length), most, long_documents="split")
    joined = np.concatenate([piece.ids for piece in pieces])
    assert joined.tolist() == list(range(length - (length % most == 1)))
    assert all(2 <= len(piece.ids) <= most for piece in pieces)
    assert all(len(piece.ids) == most for piece in pieces[:-1])
    assert all(
        piece.trained.tolist() == [False] + [True] * (len(piece.ids) - 1) for piece in pieces
    )


def test_truncating_and_refusing() -> None:
    tokens = numbered(10)
    (begin,) = cut(tokens, 4, long_documents="truncate")
    assert begin.ids.tolist() == [0, 1, 2, 3]
    assert cut(tokens, 4, long_documents="refuse") == [tokens]
    assert cut(tokens, 10, long_documents="truncate") == [tokens]
    cut(tokens, 4, long_documents="split")
    assert tokens.trained[4]  # cutting leaves what it was given as it was
