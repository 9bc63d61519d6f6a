import itertools

import pytest
import torch
from transformers import ModernBertConfig, ModernBertForSequenceClassification

from tutelage.students.classifier import fast_transformer
from tutelage.students.classifier.fast_transformer import FastTransformer, has_known_shape


def model_of(*, layers=2, pooling="mean", bias=False, seed=0, **more):
    """Every weight and bias random, so that none can be forgotten."""
    rotary = {"rope_type": "default", "rope_theta": 10_000.0}
    settings = {
        "layer_types": ["full_attention"] * layers,
        "rope_parameters": {"full_attention": rotary, "sliding_attention": dict(rotary)},
    } | more
    config = ModernBertConfig(
        vocab_size=30,
        hidden_size=24,
        intermediate_size=20,
        num_attention_heads=3,
        num_hidden_layers=layers,
        max_position_embeddings=200,
        classifier_pooling=pooling,
        attention_bias=bias,
        mlp_bias=bias,
        norm_bias=bias,
        classifier_bias=bias,
        num_labels=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        **settings,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = ModernBertForSequenceClassification(config).eval()
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model


def ids_of(*shape):
    return torch.randint(0, 30, shape, generator=torch.Generator().manual_seed(0))


SHAPES = list(itertools.product((1, 3), ("mean", "cls"), (False, True)))


@torch.inference_mode()
@pytest.mark.parametrize(("layers", "pooling", "bias"), SHAPES)
@pytest.mark.parametrize("table", [True, False])
def test_logits_are_those_of_the_model(layers, pooling, bias, table, monkeypatch):
    if not table:
        monkeypatch.setattr(fast_transformer, "LARGEST_TABLE_BYTES", 0)
    model = model_of(layers=layers, pooling=pooling, bias=bias)
    fast = FastTransformer(model)
    assert (fast._table is not None) == table
    for length in (1, 2, 3, 17, 200):
        ids = ids_of(1, length)
        torch.testing.assert_close(fast(ids), model(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_is_not_seen(pooling):
    model = model_of(pooling=pooling)
    fast, ids = FastTransformer(model), ids_of(4, 9)
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 6])[:, None]
    found = fast(ids, mask)
    torch.testing.assert_close(
        found, model(input_ids=ids, attention_mask=mask.long()).logits, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(found[1:2], fast(ids[1:2, :4]), atol=1e-5, rtol=1e-5)


def test_other_shapes_are_told_apart():
    assert has_known_shape(model_of())
    assert not has_known_shape(model_of(layer_types=["full_attention", "sliding_attention"]))
    assert not has_known_shape(model_of(hidden_activation="relu"))
    assert not has_known_shape(model_of(classifier_activation="relu"))
    scaled = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}
    assert not has_known_shape(
        model_of(rope_parameters={"full_attention": scaled, "sliding_attention": dict(scaled)})
    )


@torch.inference_mode()
def test_order_matters():
    fast, ids = FastTransformer(model_of()), ids_of(1, 9)
    assert (fast(ids) - fast(ids.flip(1))).abs().max() > 1e-3
