from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from tutelage.errors import ShapeMismatch
from tutelage.students.classifier.rnn import build_rnn
from tutelage.students.classifier.specs import RNN
from tutelage.students.vocabulary.embeddings import set_embeddings, teacher_embeddings
from tutelage.students.vocabulary.token_vectors import token_texts
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage.students.vocabulary.trimming import trim_tokenizer


@pytest.fixture(scope="module")
def tokenizer(texts):
    return train_tokenizer(texts, vocabulary_size=90)


def texts_of(tokenizer):
    return dict(
        zip(
            tokenizer.convert_ids_to_tokens(range(len(tokenizer))),
            token_texts(tokenizer),
            strict=True,
        )
    )


def full_rank(tokenizer, teacher, **more):
    """As wide as the teacher: a rotation of the teacher's vectors, so distances can be compared."""
    return teacher_embeddings(tokenizer, teacher, width=32, power=0, **more).double()


def distances(matrix):
    flat = torch.pdist(matrix)
    return flat / flat.mean()


def test_texts_of_word_pieces(texts):
    found = texts_of(train_tokenizer(texts, vocabulary_size=90))
    assert found["good"] == " good"
    assert found["##o"] == "o"
    assert found[","] == ","
    assert found["[PAD]"] is None
    assert found["[MASK]"] is None


def test_texts_of_bytes(texts):
    found = texts_of(train_tokenizer(texts, kind="bpe", vocabulary_size=330))
    assert found["Ġgood"] == " good"
    assert found["o"] == "o"
    assert found["Ã"] is None
    assert found["[UNK]"] is None
    assert texts_of(train_tokenizer(texts, kind="word"))["don't"] == " don't"


def test_rows_are_the_mean_of_the_teachers_pieces(tokenizer, teacher):
    rows = [
        tokenizer.convert_tokens_to_ids(token)
        for token in ("good", "##o", ",", "wonderful", "naïve")
    ]
    weight = teacher.model.get_input_embeddings().weight.detach().double()
    expected = []
    for text in (" good", "o", ",", " wonderful", " naïve"):
        ids = teacher.tokenizer(text, add_special_tokens=False)["input_ids"]
        expected.append(weight[ids].mean(0))
    got = full_rank(tokenizer, teacher)[rows]
    torch.testing.assert_close(distances(got), distances(torch.stack(expected)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("layer", [0, 1, 3, 4])
def test_contextual_rows_are_hidden_states_of_that_layer(tokenizer, teacher, layer):
    rows, expected = [], []
    for token, text in (
        ("good", " good"),
        ("##o", "o"),
        ("wonderful", " wonderful"),
        ("naïve", " naïve"),
    ):
        assert token in tokenizer.get_vocab()
        ids = teacher.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[teacher.tokenizer.bos_token_id, *ids]])
        with torch.inference_mode():
            states = teacher.model(ids, output_hidden_states=True).hidden_states[layer]
        if layer < 4:  # below the final norm states are divided by their root mean square
            states = torch.nn.functional.rms_norm(states, states.shape[-1:], eps=1e-6)
        rows.append(tokenizer.convert_tokens_to_ids(token))
        expected.append(states[0, 1:].mean(0).double())
    got = full_rank(tokenizer, teacher, contextual_layer=layer)[rows]
    torch.testing.assert_close(distances(got), distances(torch.stack(expected)), rtol=1e-3, atol=0)


def test_running_text_is_mixed_in_by_how_often_a_token_occurs(tokenizer, teacher):
    corpus = ["It's GOOD", "a good, wonderful film", "good"]
    bos = teacher.tokenizer.bos_token_id

    def states(text):
        ids = teacher.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            states = teacher.model(
                torch.tensor([[bos, *ids]]), output_hidden_states=True
            ).hidden_states[2][0, 1:]
            return torch.nn.functional.rms_norm(states, states.shape[-1:], eps=1e-6).double()

    def last(text):  # causal: the state at a word's end does not see what follows
        return states(text)[-1]

    good = torch.stack([last("It's GOOD"), last("a good"), last("good")]).mean(0)
    film = last("a good, wonderful film")
    expected = torch.stack(
        [
            good * 3 / 6 + states(" good").mean(0) * 3 / 6,
            film * 1 / 4 + states(" film").mean(0) * 3 / 4,
            states(" naïve").mean(0),
        ]
    )
    got = full_rank(tokenizer, teacher, contextual_layer=2, texts=corpus)
    rows = tokenizer.convert_tokens_to_ids(["good", "film", "naïve"])
    torch.testing.assert_close(distances(got[rows]), distances(expected), rtol=1e-3, atol=0)


def test_later_layers_are_not_run(tokenizer, teacher):
    calls, hooks = [], len(teacher.model.model.layers[1]._forward_hooks)
    handle = teacher.model.model.layers[2].register_forward_hook(lambda *_: calls.append(1))
    teacher_embeddings(tokenizer, teacher, width=8, contextual_layer=2)
    assert calls == []
    teacher_embeddings(tokenizer, teacher, width=8, contextual_layer=3)
    handle.remove()
    assert calls
    assert len(teacher.model.model.layers[1]._forward_hooks) == hooks


def test_tokens_of_a_trimmed_vocabulary_are_looked_up_by_name(texts, teacher):
    trimmed, to_teacher = trim_tokenizer(teacher.tokenizer, texts)
    shared = to_teacher >= 258  # beyond special tokens and bytes
    got = full_rank(trimmed, teacher)[shared]
    weight = teacher.model.get_input_embeddings().weight.detach().double()[to_teacher[shared]]
    torch.testing.assert_close(distances(got), distances(weight), rtol=1e-4, atol=0)


def test_size_padding_and_repeatability(tokenizer, teacher):
    matrix = teacher_embeddings(tokenizer, teacher, width=16)
    assert matrix.shape == (len(tokenizer), 16)
    assert not matrix[0].any()
    assert matrix[1].any()
    assert torch.equal(matrix, teacher_embeddings(tokenizer, teacher, width=16))
    assert matrix[3:].std().item() == pytest.approx(0.25, rel=0.05)
    wider = teacher_embeddings(tokenizer, teacher, width=16, standard_deviation=2.0)
    torch.testing.assert_close(wider, matrix * 8)


def test_the_watcher_sees_every_token(tokenizer, teacher):
    seen = []

    @contextmanager
    def bar(title, *, total, unit):
        yield seen.append
        assert sum(seen) == total

    teacher_embeddings(
        tokenizer, teacher, width=8, contextual_layer=1, progress=SimpleNamespace(bar=bar)
    )
    assert len(seen) > 1


def test_a_student_wider_than_its_teacher_is_refused(tokenizer, teacher):
    with pytest.raises(
        ShapeMismatch,
        match=r"33 wide, the teacher's only 32: choose an embedding size of at most 32",
    ):
        teacher_embeddings(tokenizer, teacher, width=33)


def test_a_layer_the_teacher_lacks_is_refused(tokenizer, teacher):
    with pytest.raises(ValueError, match="contextual_layer is 5: the teacher has 4 layers"):
        teacher_embeddings(tokenizer, teacher, width=8, contextual_layer=5)


def test_embeddings_are_put_in_and_their_shape_is_checked(tokenizer, teacher, labels):
    model = build_rnn(RNN(labels=labels, embedding_size=16, hidden_size=8), tokenizer)
    matrix = teacher_embeddings(tokenizer, teacher, width=16)
    set_embeddings(model, matrix)
    assert torch.equal(model.embedding.weight, matrix)
    with pytest.raises(ShapeMismatch, match="make them with the model's own tokenizer and width"):
        set_embeddings(model, matrix[:, :8])


@pytest.mark.parametrize("kind", ["wordpiece", "word"])
def test_another_student_of_the_same_words_asks_the_teacher_nothing(tmp_path, texts, teacher, kind):
    """An LSTM, and a transformer whose texts stand between two more tokens."""
    named = SimpleNamespace(model=teacher.model, tokenizer=teacher.tokenizer, fingerprint="t")
    more = {"width": 16, "contextual_layer": 2, "texts": texts, "cache": tmp_path}
    plain, bounded = (
        train_tokenizer(texts, kind=kind, vocabulary_size=90, boundaries=asked)
        for asked in (False, True)
    )
    first = teacher_embeddings(plain, named, **more)

    def refuse(*_):
        pytest.fail("the teacher was run again")

    handle = teacher.model.register_forward_pre_hook(refuse)
    inner = teacher.model.model.register_forward_pre_hook(refuse)
    try:
        second = teacher_embeddings(bounded, named, **more)
    finally:
        handle.remove()
        inner.remove()
    words = [token for token in plain.get_vocab() if token not in plain.all_special_tokens]
    assert len(words) >= 20
    assert torch.equal(
        first[plain.convert_tokens_to_ids(words)], second[bounded.convert_tokens_to_ids(words)]
    )
