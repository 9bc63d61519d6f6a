import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tutelage.students.vocabulary.training import train_tokenizer

KINDS = ["wordpiece", "bpe", "word"]


def vocabulary(kind, texts, **more):
    return train_tokenizer(texts, kind=kind, vocabulary_size=400, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_have_their_places(kind, texts):
    plain = vocabulary(kind, texts)
    assert plain.convert_tokens_to_ids(["[PAD]", "[UNK]", "[MASK]"]) == [0, 1, 2]
    assert plain.pad_token_id == 0
    assert plain.cls_token_id is None
    assert plain.padding_side == "right"
    bounded = vocabulary(kind, texts, boundaries=True)
    ids = bounded("good film")["input_ids"]
    assert (ids[0], ids[-1]) == (bounded.cls_token_id, bounded.sep_token_id)
    assert list(bounded("good")) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [60, 120, 400])
def test_words_are_the_same_with_boundaries_and_without(kind, size, texts):
    if kind == "bpe":
        size += 256
    plain, bounded = (
        train_tokenizer(texts, kind=kind, vocabulary_size=size, boundaries=asked).get_vocab()
        for asked in (False, True)
    )
    assert set(bounded) - set(plain) == {"[CLS]", "[SEP]"}
    assert sorted(plain, key=plain.__getitem__) == [
        token
        for token in sorted(bounded, key=bounded.__getitem__)
        if token not in ("[CLS]", "[SEP]")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_texts_does_not_matter(kind, texts):
    assert vocabulary(kind, texts).get_vocab() == vocabulary(kind, texts[::-1]).get_vocab()


def test_every_process_learns_the_same_word_pieces():
    code = (
        "import random; from tutelage.students.vocabulary.training import train_tokenizer as "
        "train\n"
        "rng = random.Random(0); letters = 'abcdefghijklmnopéñ漢字'\n"
        "words = [''.join(rng.choices(letters, k=rng.randint(1, 6))) for _ in range(300)]\n"
        "texts = [' '.join(rng.choices(words, k=9)) for _ in range(300)]\n"
        "print(train(texts, vocabulary_size=250).backend_tokenizer.to_str())\n"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_auto_tokenizer_gives_the_same_ids(kind, texts, tmp_path):
    tokenizer = vocabulary(kind, texts, boundaries=True, max_length=7)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast
    assert loaded.model_max_length == 7
    assert (
        loaded(texts, truncation=True)["input_ids"]
        == tokenizer(texts, truncation=True)["input_ids"]
    )
    assert max(map(len, loaded(texts, truncation=True)["input_ids"])) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_case_is_folded_only_where_asked(kind, texts):
    folded, kept = vocabulary(kind, texts), vocabulary(kind, texts, lowercase=False)
    assert folded("Good FILM")["input_ids"] == folded("good film")["input_ids"]
    assert kept("Good")["input_ids"] != kept("good")["input_ids"]


def test_a_contraction_is_one_word(texts):
    assert vocabulary("word", texts).tokenize("It's good, don’t!") == [
        "it's",
        "good",
        ",",
        "don't",
        "!",
    ]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_byte_level_pieces_lose_nothing(bpe, text):
    ids = bpe(text)["input_ids"]
    assert bpe.unk_token_id not in ids


@pytest.fixture(scope="module")
def bpe(texts):
    return train_tokenizer(texts, kind="bpe", vocabulary_size=400, lowercase=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_keeps_to_its_size(kind, texts):
    size = 300 if kind == "bpe" else 70
    assert len(train_tokenizer(texts, kind=kind, vocabulary_size=size)) <= size


def test_the_mask_token_is_one_token_in_running_text(texts):
    tokenizer = vocabulary("wordpiece", texts)
    assert tokenizer.mask_token_id in tokenizer("good [MASK] film")["input_ids"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "wordpiece", "vocabulary_size": 4}, "vocabulary_size is 4"),
        ({"kind": "bpe", "vocabulary_size": 100}, "vocabulary_size is 100.*need 259"),
        ({"kind": "unigram"}, "kind is 'unigram': expected one of wordpiece, bpe, word"),
    ],
)
def test_wrong_settings_are_refused(settings, message, texts):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(texts, **settings)


def test_no_text_is_refused():
    with pytest.raises(ValueError, match="no text to learn a vocabulary from"):
        train_tokenizer(["  ", ""])
