from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaModel

from tutelage.errors import ModelError
from tutelage.models import LanguageModel
from tutelage.teachers import default_layers, extract_features


def expected_features(language_model, texts, layers, pooling) -> np.ndarray:
    rows = []
    for text in texts:
        begin = language_model.tokenizer.bos_token_id
        ids = torch.tensor(
            [[*([] if begin is None else [begin]), *language_model.tokenizer(text)["input_ids"]]]
        )
        with torch.no_grad():
            states = language_model.model.base_model(
                input_ids=ids, output_hidden_states=True
            ).hidden_states
        states = [state / state.square().mean(-1, keepdim=True).sqrt() for state in states[:-1]] + [
            states[-1]
        ]
        first = 0 if begin is None else 1
        pools = {
            "mean": lambda hidden, first=first: hidden[0, first:].mean(0),
            "last": lambda hidden: hidden[0, -1],
        }
        rows.append(torch.cat([pools[how](states[layer]) for layer in layers for how in pooling]))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("layers", [[0], [1], [2], [2, 0, 1], [1, 1]])
@pytest.mark.parametrize("pooling", [["mean", "last"], ["last"], ["mean"]])
def test_features_are_hidden_states_pooled_over_real_tokens(make_model, examples, layers, pooling):
    language_model = make_model(LlamaModel)
    texts = [example.text for example in examples]
    got = extract_features(language_model, texts, layers=layers, pooling=pooling, batch_tokens=40)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, expected_features(language_model, texts, layers, pooling), atol=1e-4, rtol=1e-4
    )


def test_a_begin_token_goes_first_and_stays_out_of_the_mean(make_model, examples):
    language_model = make_model(LlamaModel)
    plain = extract_features(language_model, [example.text for example in examples], layers=[1])
    language_model.tokenizer.bos_token = "<|im_start|>"
    texts = [example.text for example in examples]
    got = extract_features(language_model, texts, layers=[1, 2], batch_tokens=40)
    expected = expected_features(language_model, texts, [1, 2], ["mean", "last"])
    np.testing.assert_allclose(got, expected, atol=1e-4, rtol=1e-4)
    assert np.abs(got[:, : plain.shape[1]] - plain).max() > 1e-2


def test_the_last_layer_is_the_normed_one(make_model):
    language_model = make_model(LlamaModel)
    language_model.model.norm.weight.data.fill_(3.0)
    (last,) = extract_features(language_model, ["good"], layers=[2], pooling=["last"])
    assert np.sqrt((last**2).mean()) == pytest.approx(3, rel=1e-2)


def test_layers_above_the_deepest_one_and_the_output_matrix_are_not_run(language_model):
    def forbidden(*_):
        raise AssertionError("run")

    language_model.model.model.layers[1].mlp.register_forward_hook(forbidden)
    language_model.model.lm_head.register_forward_hook(forbidden)
    assert extract_features(language_model, ["good"], layers=[1]).shape == (1, 64)
    with pytest.raises(AssertionError, match="run"):
        extract_features(language_model, ["good"], layers=[2])


def test_no_hook_is_left_behind(language_model):
    extract_features(language_model, ["good"], layers=[0, 1])
    assert all(not layer._forward_pre_hooks for layer in language_model.model.model.layers)


def test_whether_a_model_is_causal_is_found_out_once(make_model):
    one, other = make_model(), make_model()
    passes = []
    for language_model in (one, other):
        language_model.model.base_model.register_forward_pre_hook(
            lambda module, _: passes.append(module)
        )

    def count(language_model, **options) -> int:
        passes.clear()
        extract_features(language_model, ["good"], **options)
        assert set(passes) == {language_model.model.base_model}
        return len(passes)

    probed = 3  # a row alone, the same row padded, and the text
    assert [count(one, layers=[1]) for _ in range(3)] == [probed, 1, 1]
    assert count(one, layers=[0, 1], pooling=["last"]) == 1
    assert (
        count(other, layers=[1]) == probed
    )  # what is known of one model is not believed of another


def test_an_encoder_is_given_its_mask(tokenizer, examples):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = BertModel(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(6)
    language_model = LanguageModel(model, tokenizer, "bert", "f", torch.float32)
    texts = [example.text for example in examples]
    expected = expected_features(language_model, texts, [1, 2], ["mean", "last"])
    np.testing.assert_allclose(
        extract_features(language_model, texts, layers=[1, 2]), expected, atol=1e-4, rtol=1e-4
    )


def test_long_texts_are_cut_and_empty_ones_have_features(make_model):
    language_model = make_model(LlamaModel)
    cut, short = extract_features(
        language_model, ["good " * 50, "good good"], layers=[2], pooling=["last"], max_length=3
    )
    assert np.abs(cut - short).max() < 10
    assert np.isfinite(extract_features(language_model, ["", "good"], layers=[1])).all()
    assert extract_features(language_model, [], layers=[1]).shape[0] == 0


def test_layers_that_are_not_there_are_refused(language_model):
    with pytest.raises(
        ModelError, match=r"layers \[3\] given; tiny has layers 0 \(embeddings\) to 2"
    ):
        extract_features(language_model, ["good"], layers=[3])
    with pytest.raises(ValueError, match="expected mean, last, or both"):
        extract_features(language_model, ["good"], layers=[1], pooling=["max"])  # type: ignore[list-item]


def test_default_layers_are_spread_over_the_upper_depth():
    assert default_layers(30) == [18, 24, 30]
    assert default_layers(1) == [1]
