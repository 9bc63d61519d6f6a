"""A small ModernBERT classifier without its modules.

In: a trained classifier, then token ids. Out: its logits, equal to those of its `forward` up to
rounding. With one text most of the time of a small encoder goes into what surrounds its arithmetic:
module calls, masks, rotary tables. Here a layer is a dozen operations. Until the first attention a
token depends on nothing but itself, so that its normalised embedding, queries, keys and values are
looked up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention
from transformers import ModernBertForSequenceClassification

from tutelage.models.attention import transformers_was_tested

LARGEST_TABLE_BYTES = 1 << 28
"""A larger table of queries, keys and values is not made; they are computed for each text."""


def has_known_shape(model: ModernBertForSequenceClassification) -> bool:
    """True if `FastTransformer` computes what the model does: full attention, plain rotary
    positions, GELU, in a version of transformers that was tested.
    """
    config: Any = model.config
    return (
        transformers_was_tested()
        and set(config.layer_types) == {"full_attention"}
        and config.rope_parameters["full_attention"]["rope_type"] == "default"
        and config.hidden_activation == config.classifier_activation == "gelu"
        and config.classifier_pooling in ("mean", "cls")
    )


class FastTransformer:
    """Logits of a ModernBERT classifier; its tables are copies, so that later changes of the
    weights are not seen.

    Args:
        model: On the CPU, in float32 and evaluation mode, with `has_known_shape`.
    """

    def __init__(self, model: ModernBertForSequenceClassification) -> None:
        config = model.config
        self.num_weights = sum(weight.numel() for weight in model.model.layers.parameters())
        """Weights that every token is multiplied with."""
        self._takes_mean = config.classifier_pooling == "mean"
        with torch.no_grad():
            self._layers = [
                _Layer(layer, heads=config.num_attention_heads) for layer in model.model.layers
            ]
            self._final_norm, self._head_norm = (
                _norm(model.model.final_norm),
                _norm(model.head.norm),
            )
            self._dense, self._classifier = _linear(model.head.dense), _linear(model.classifier)
            embeddings = model.model.embeddings
            self._embedding = layer_norm(
                embeddings.tok_embeddings.weight.detach(), *_norm(embeddings.norm)
            )
            fits = 3 * self._embedding.nbytes <= LARGEST_TABLE_BYTES
            self._table = self._layers[0].qkv(self._embedding) if fits else None
            rotary: Any = model.model.rotary_emb
            frequencies = rotary.full_attention_inv_freq
            angles = torch.outer(torch.arange(config.max_position_embeddings).float(), frequencies)
            self._rotations = torch.polar(torch.ones_like(angles), angles)[:, None]

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits of texts.

        Args:
            ids: Token ids [B, T], padded on the right; T at most the model's
                `max_position_embeddings`.
            mask: [B, T], true at tokens, false at padding; None where nothing is padded.

        Returns:
            float32 [B, C].
        """
        rotations = self._rotations[: ids.shape[1]]
        seen = None if mask is None else mask[:, None, None]
        states_BTH = self._embedding[ids]
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(states_BTH) if index or self._table is None else self._table[ids]
            states_BTH = layer(states_BTH, qkv, rotations, seen)
        states_BTH = layer_norm(states_BTH, *self._final_norm)
        if not self._takes_mean:
            pooled_BH = states_BTH[:, 0]
        elif mask is None:
            pooled_BH = states_BTH.mean(1)
        else:
            pooled_BH = (states_BTH * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return linear(
            layer_norm(gelu(linear(pooled_BH, *self._dense)), *self._head_norm), *self._classifier
        )


class _Layer:
    """One encoder layer."""

    def __init__(self, layer: Any, *, heads: int) -> None:
        self._heads = heads
        self._attention_norm = (
            _norm(layer.attn_norm) if isinstance(layer.attn_norm, nn.LayerNorm) else None
        )
        # The two halves of a head turn as pairs; side by side each pair is one complex number.
        size, width = layer.attn.head_dim, layer.attn.Wo.out_features
        pairs = torch.arange(size).view(2, -1).T.reshape(-1)
        turned = (torch.arange(2 * heads)[:, None] * size + pairs).view(-1)
        order = torch.cat([turned, torch.arange(2 * width, 3 * width)])
        weight, bias = _linear(layer.attn.Wqkv)
        self._qkv = weight[order], None if bias is None else bias[order]
        self._attention_out, self._mlp_norm = _linear(layer.attn.Wo), _norm(layer.mlp_norm)
        self._mlp_in, self._mlp_out = _linear(layer.mlp.Wi), _linear(layer.mlp.Wo)

    def qkv(self, states: Tensor) -> Tensor:
        """Queries, keys and values of every token, [..., 3H]."""
        if self._attention_norm is not None:
            states = layer_norm(states, *self._attention_norm)
        return linear(states, *self._qkv)

    def __call__(
        self, states: Tensor, qkv: Tensor, rotations: Tensor, seen: Tensor | None
    ) -> Tensor:
        heads, (batch, length, width) = self._heads, states.shape
        pairs = torch.view_as_complex(qkv[..., : 2 * width].view(batch, length, 2 * heads, -1, 2))
        turned = torch.view_as_real(pairs * rotations).flatten(-2).transpose(1, 2)
        values = qkv[..., 2 * width :].view(batch, length, heads, -1).transpose(1, 2)
        mixed = scaled_dot_product_attention(
            turned[:, :heads], turned[:, heads:], values, attn_mask=seen
        )
        states = states + linear(
            mixed.transpose(1, 2).reshape(batch, length, width), *self._attention_out
        )
        inside, gate = linear(layer_norm(states, *self._mlp_norm), *self._mlp_in).chunk(2, dim=-1)
        return states + linear(gelu(inside) * gate, *self._mlp_out)


def _linear(module: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """What `linear` takes after its input."""
    return module.weight.detach(), None if module.bias is None else module.bias.detach()


def _norm(module: nn.LayerNorm) -> tuple[tuple[int, ...], Tensor, Tensor | None, float]:
    """What `layer_norm` takes after its input."""
    bias = None if module.bias is None else module.bias.detach()
    return module.normalized_shape, module.weight.detach(), bias, module.eps
