"""The short way through a classifier of the BERT family answers as the model itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tutelage.students.classifier.fast_encoder import FastEncoder, has_known_encoder
from tutelage.students.classifier.pooled import PooledForSequenceClassification
from tutelage.students.configurations import PooledConfig

SIZES: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "num_labels": 3,
    "max_position_embeddings": 40,
}


def model_of(kind: str, **more: Any) -> Any:
    """Every weight random, so that none can be forgotten."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        match kind:
            case "bert":
                model = BertForSequenceClassification(BertConfig(**SIZES | more))
            case "roberta":
                model = RobertaForSequenceClassification(
                    RobertaConfig(**SIZES | more, pad_token_id=1)
                )
            case _:
                config = BertConfig(**SIZES | more)
                model = PooledForSequenceClassification(
                    PooledConfig(text_config=config, pooling=kind.split("+"), num_labels=3)
                )
        for weight in model.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return model.eval()


def ids_of(*shape: int) -> torch.Tensor:
    return torch.randint(2, 30, shape, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["bert", "roberta", "mean", "last", "mean+last"])
def test_logits_are_those_of_the_model(kind):
    model = model_of(kind)
    assert has_known_encoder(model)
    fast = FastEncoder(model)
    for length in (1, 2, 7, 38):
        ids = ids_of(1, length)
        torch.testing.assert_close(fast(ids), model(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["bert", "roberta", "mean+last"])
def test_padding_is_not_seen(kind):
    model = model_of(kind)
    fast, ids = FastEncoder(model), ids_of(4, 9)
    mask = torch.arange(9) < torch.tensor([9, 4, 1, 6])[:, None]
    ids = torch.where(mask, ids, 1)
    found = fast(ids, mask)
    torch.testing.assert_close(
        found, model(input_ids=ids, attention_mask=mask.long()).logits, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(found[1:2], fast(ids[1:2, :4]), atol=1e-5, rtol=1e-5)


def test_other_shapes_are_told_apart():
    for changes in ({"hidden_act": "relu"}, {"is_decoder": True}):
        assert not has_known_encoder(model_of("bert", **changes))
    begun = model_of("mean")
    begun.config.begin_token_id = 3
    assert not has_known_encoder(begun)
    assert not has_known_encoder(torch.nn.Linear(2, 2))
