import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoModelForSequenceClassification

import tutelage
from tutelage.students.classifier.rnn import RecurrentForSequenceClassification, run_padded
from tutelage.students.configurations import RecurrentConfig

POOLINGS = ["mean", "max", "mean_max", "attention", "last"]


def tiny(seed=0, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = RecurrentConfig(
            vocabulary_size=30, embedding_size=6, hidden_size=5, num_labels=3, **settings
        )
        return RecurrentForSequenceClassification(config).eval()


def padded(rows, width=None):
    width = width or max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


MODELS = {
    (cell, pooling, both, layers): tiny(
        cell=cell, pooling=pooling, bidirectional=both, layers=layers
    )
    for cell in ("gru", "lstm")
    for pooling in POOLINGS
    for both, layers in ((True, 1), (False, 2), (True, 2))
}
ROWS = st.lists(st.lists(st.integers(1, 29), max_size=9), min_size=1, max_size=5).filter(any)


@pytest.mark.parametrize("shape", MODELS, ids=str)
@settings(max_examples=8, deadline=None)
@given(rows=ROWS, extra=st.integers(0, 4))
def test_logits_do_not_depend_on_padding(shape, rows, extra):
    model = MODELS[shape]
    ids, mask = padded(rows, max(map(len, rows)) + extra)
    with torch.inference_mode():
        together = model(input_ids=ids, attention_mask=mask).logits
        alone = torch.cat(
            [model(input_ids=torch.tensor([row], dtype=torch.long)).logits for row in rows]
        )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_order_of_words_matters_and_every_word_counts(pooling):
    model = MODELS["gru", pooling, True, 1]
    with torch.inference_mode():
        logits = [
            model(input_ids=torch.tensor([row])).logits for row in ([3, 4, 5], [5, 4, 3], [3, 9, 5])
        ]
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
    assert not torch.allclose(logits[0], logits[2], atol=1e-4)


def test_mean_and_max_are_those_of_the_states():
    model = MODELS["gru", "mean_max", True, 1]
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.inference_mode():
        states, _ = model.recurrent(model.embedding(ids))
        expected = model.classifier(torch.cat([states.mean(1), states.max(1).values], -1))
        torch.testing.assert_close(model(input_ids=ids).logits, expected)


def test_loss_is_the_mean_cross_entropy_and_skips_minus_100():
    model = tiny()
    ids, mask = padded([[3, 4], [5], [6, 7, 8]])
    out = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([2, -100, 0]))
    expected = -(out.logits.log_softmax(-1)[0, 2] + out.logits.log_softmax(-1)[2, 0]) / 2
    torch.testing.assert_close(out.loss, expected)
    assert model(input_ids=ids, attention_mask=mask).loss is None
    assert len(model(input_ids=ids, labels=torch.tensor([0, 1, 2]), return_dict=False)) == 2


def test_gradients_reach_everything_but_padding():
    model = tiny(pooling="attention").train()
    ids, mask = padded([[3, 4], [5]])
    model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1])).loss.backward()
    # The bias of the scorer's last layer shifts all scores alike: softmax does not see it.
    silent = {
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.any()
    }
    assert silent <= {"scorer.2.bias"}
    assert not model.embedding.weight.grad[0].any()
    assert not model.embedding.weight[0].any()


def test_a_text_without_tokens_gets_finite_logits():
    model = tiny()
    with torch.inference_mode():
        empty = model(input_ids=torch.zeros(1, 0), attention_mask=torch.zeros(1, 0)).logits
    assert torch.isfinite(empty).all()


def test_padding_on_the_left_is_refused():
    with pytest.raises(ValueError, match="padding_side to 'right'"):
        tiny()(
            input_ids=torch.tensor([[0, 3], [4, 5]]), attention_mask=torch.tensor([[0, 1], [1, 1]])
        )


def test_no_input_is_refused():
    with pytest.raises(ValueError, match="neither input_ids nor inputs_embeds"):
        tiny()()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cell": "rnn"}, "cell is 'rnn': expected one of gru, lstm"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_wrong_shapes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RecurrentConfig(**wrong)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_saving_and_loading_changes_nothing(cell, tmp_path):
    model = tiny(cell=cell, pooling="attention", layers=2)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    tutelage.register()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is RecurrentForSequenceClassification
    assert not loaded.training
    ids, mask = padded([[3, 4, 7], [5]])
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded(input_ids=ids, attention_mask=mask).logits,
            model(input_ids=ids, attention_mask=mask).logits,
            rtol=0,
            atol=1e-7,
        )


def test_the_first_weights_are_as_promised():
    model = tiny(cell="lstm", embedding_std=0.5)
    recurrent = model.recurrent.weight_hh_l0[:5]
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(5), atol=1e-5, rtol=0)
    assert model.recurrent.bias_ih_l0.tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10
    assert 0.3 < model.embedding.weight[1:].std().item() < 0.7


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_running_padded_is_running_packed_with_gradients(cell):
    model = tiny(cell=cell, layers=2)
    inputs = torch.randn(4, 6, 6, requires_grad=True)
    lengths = torch.tensor([2, 6, 1, 4])
    mask = (torch.arange(6) < lengths[:, None])[..., None]
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    expected, ends = model.recurrent(packed)
    expected, _ = pad_packed_sequence(expected, batch_first=True, total_length=6)
    got, got_ends = run_padded(model.recurrent, inputs, lengths)
    torch.testing.assert_close(got * mask, expected)
    torch.testing.assert_close(got_ends, (ends[0] if cell == "lstm" else ends)[-2:])
    weights = [inputs, *model.recurrent.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad((got * mask).square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
    )


def test_deepcopy_gives_the_same_model():
    model = tiny()
    ids = torch.tensor([[3, 4]])
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(model)(input_ids=ids).logits, model(input_ids=ids).logits)
