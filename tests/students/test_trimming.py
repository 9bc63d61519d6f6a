import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tutelage.errors import ModelError
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage.students.vocabulary.trimming import trim_tokenizer

TEXTS = st.lists(st.text("abcé 1.", max_size=30), min_size=1, max_size=6)


def mapped(trimmed, to_teacher, texts):
    return [
        [int(to_teacher[i]) for i in ids]
        for ids in trimmed(texts, add_special_tokens=False)["input_ids"]
    ]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "whole words first"])
def bpe(request):
    backend = Tokenizer(models.BPE(ignore_merges=request.param))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    rng = np.random.default_rng(0)
    corpus = ["".join(rng.choice(list("aaabbcé  1."), size=40)) for _ in range(200)]
    backend.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
def test_the_corpus_is_segmented_as_before(bpe, texts):
    trimmed, to_teacher = trim_tokenizer(bpe, texts)
    assert mapped(trimmed, to_teacher, texts) == bpe(texts, add_special_tokens=False)["input_ids"]
    assert len(to_teacher) == len(trimmed)


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS, other=st.text(max_size=20))
def test_other_texts_keep_every_byte(bpe, texts, other):
    trimmed, to_teacher = trim_tokenizer(bpe, texts)
    pieces = [i for ids in mapped(trimmed, to_teacher, [other]) for i in ids]
    whole = bpe(other, add_special_tokens=False)["input_ids"]
    assert "".join(bpe.convert_ids_to_tokens(pieces)) == "".join(bpe.convert_ids_to_tokens(whole))


def test_it_is_smaller_and_keeps_bytes_and_special_tokens(bpe):
    trimmed, to_teacher = trim_tokenizer(bpe, ["ab ab"])
    assert 256 + 3 <= len(trimmed) < 270 < len(bpe)
    assert trimmed.pad_token_id == 0
    assert to_teacher[:2].tolist() == [-1, -1]
    assert to_teacher[trimmed.convert_tokens_to_ids("<|end|>")] == bpe.eos_token_id
    names = trimmed.convert_ids_to_tokens(list(range(2, len(trimmed))))
    assert bpe.convert_tokens_to_ids(names) == to_teacher[2:].tolist()


def test_boundaries_and_loading(bpe, tmp_path):
    trimmed, _ = trim_tokenizer(bpe, ["ab ab", "cab"], max_length=5, boundaries=True)
    trimmed.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    ids = loaded("ab cab 111 aa", truncation=True)["input_ids"]
    assert ids == trimmed("ab cab 111 aa", truncation=True)["input_ids"]
    assert (ids[0], ids[-1], len(ids)) == (loaded.cls_token_id, loaded.sep_token_id, 5)


def test_other_kinds_are_refused():
    with pytest.raises(
        ModelError, match=r"no byte-level BPE.*choose tokenizer kind wordpiece or bpe"
    ):
        trim_tokenizer(train_tokenizer(["good film"] * 2), ["good"])
