"""A classifier of the BERT family without its modules.

In: a trained classifier (BERT, MiniLM, RoBERTa, or the same with pooled states), then token ids.
Out: its logits, equal to those of its `forward` up to rounding. With one text much of the time goes
into what surrounds the arithmetic: module calls, masks, checks. Here a layer is nine operations:
queries, keys and values are one product, positions and token types are added to the embeddings
once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention
from transformers import BertForSequenceClassification, BertModel, RobertaForSequenceClassification
from transformers.models.roberta.modeling_roberta import RobertaModel

from tutelage.models.attention import transformers_was_tested
from tutelage.students.classifier.pooled import PooledForSequenceClassification

_ENCODERS = (BertModel, RobertaModel)


def has_known_encoder(model: Any) -> bool:
    """True if `FastEncoder` computes what the model does: a classifier of the BERT family with
    learned positions and GELU, in a version of transformers that was tested.
    """
    if not transformers_was_tested():
        return False
    encoder: Any = getattr(model, "base_model", None)
    known = type(model) in (BertForSequenceClassification, RobertaForSequenceClassification) or (
        type(model) is PooledForSequenceClassification
        and not model.config.plain_norm
        and model.config.begin_token_id is None
    )
    if not known or type(encoder) not in _ENCODERS:
        return False
    config = encoder.config
    return (
        config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not config.is_decoder
        and not config.add_cross_attention
        and config.num_hidden_layers > 0
    )


class FastEncoder:
    """Logits of a classifier of the BERT family; some of its tables are copies, so that later
    changes of the weights are not seen.

    Args:
        model: On the CPU, in float32 and evaluation mode, with `has_known_encoder`.
    """

    def __init__(self, model: Any) -> None:
        encoder = model.base_model
        config, embeddings = encoder.config, encoder.embeddings
        self.num_weights = sum(weight.numel() for weight in encoder.encoder.parameters())
        """Weights that every token is multiplied with."""
        with torch.no_grad():
            self._words = embeddings.word_embeddings.weight.detach()
            first = config.pad_token_id + 1 if type(encoder) is RobertaModel else 0
            positions = embeddings.position_embeddings.weight[first:].detach()
            self._places = positions + embeddings.token_type_embeddings.weight[0].detach()
            self._norm = _norm(embeddings.LayerNorm)
            heads = config.num_attention_heads
            self._layers = [_Layer(layer, heads=heads) for layer in encoder.encoder.layer]
            self._head = _head(model, encoder)

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits of texts.

        Args:
            ids: Token ids [B, T], padded on the right; T at most the positions of the model.
            mask: [B, T], true at tokens, false at padding; None where nothing is padded.

        Returns:
            float32 [B, C].
        """
        states_BTH = embedding(ids, self._words) + self._places[: ids.shape[1]]
        states_BTH = layer_norm(states_BTH, *self._norm)
        seen = None if mask is None else mask[:, None, None]
        for layer in self._layers:
            states_BTH = layer(states_BTH, seen)
        return self._head(states_BTH, mask)


class _Layer:
    """One encoder layer."""

    def __init__(self, layer: Any, *, heads: int) -> None:
        own = layer.attention.self
        parts = (own.query, own.key, own.value)
        self._heads = heads
        self._qkv = (
            torch.cat([part.weight for part in parts]).detach(),
            torch.cat([part.bias for part in parts]).detach(),
        )
        self._out, self._attention_norm = (
            _linear(layer.attention.output.dense),
            _norm(layer.attention.output.LayerNorm),
        )
        self._inside, self._back = _linear(layer.intermediate.dense), _linear(layer.output.dense)
        self._norm = _norm(layer.output.LayerNorm)

    def __call__(self, states: Tensor, seen: Tensor | None) -> Tensor:
        batch, length, width = states.shape
        queries, keys, values = (
            linear(states, *self._qkv)
            .view(batch, length, 3, self._heads, width // self._heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        mixed = linear(mixed.transpose(1, 2).reshape(batch, length, width), *self._out)
        states = layer_norm(mixed.add_(states), *self._attention_norm)
        inside = linear(gelu(linear(states, *self._inside)), *self._back)
        return layer_norm(inside.add_(states), *self._norm)


def _head(model: Any, encoder: Any) -> Any:
    """What makes logits of the last states and the mask."""
    if type(model) is PooledForSequenceClassification:
        weight, bias, ways = *_linear(model.score), model.config.pooling

        def pooled(states: Tensor, mask: Tensor | None) -> Tensor:
            parts = [_mean(states, mask) if way == "mean" else _last(states, mask) for way in ways]
            return linear(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1), weight, bias)

        return pooled
    dense, score = (
        (encoder.pooler.dense, model.classifier)
        if type(model) is BertForSequenceClassification
        else (model.classifier.dense, model.classifier.out_proj)
    )
    inside, outside = _linear(dense), _linear(score)
    return lambda states, _: linear(linear(states[:, 0], *inside).tanh_(), *outside)


def _mean(states: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return states.mean(1)
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def _last(states: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return states[:, -1]
    return states[torch.arange(len(states)), mask.sum(1).clamp_min(1) - 1]


def _linear(module: Any) -> tuple[Tensor, Tensor]:
    """What `linear` takes after its input."""
    return module.weight.detach(), module.bias.detach()


def _norm(module: Any) -> tuple[tuple[int, ...], Tensor, Tensor, float]:
    """What `layer_norm` takes after its input."""
    return module.normalized_shape, module.weight.detach(), module.bias.detach(), module.eps
