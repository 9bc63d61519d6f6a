"""Hidden states of several layers as features of a text, from one pass that stops at the deepest layer asked for.

In: texts. Out: float32 [N, D], layers after one another, pooled over the text's own tokens. Layers are counted as in
transformers' `hidden_states`: 0 is the embeddings, L the output of layer L, and the last one is normalised by the
model's final norm.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.teachers.loading import LanguageModel
from tutelage.types import SILENT, Progress

Pooling = Literal["mean", "last"]


class _Deep(Exception):  # no error: it ends the pass once nothing further is needed
    """Raised inside the model when the deepest layer asked for has been seen."""


def default_layers(num_layers: int) -> list[int]:
    """Layers at 60, 80 and 100 % of the depth, where a classifier on a causal language model finds most."""
    return sorted({max(1, round(share * num_layers)) for share in (0.6, 0.8, 1.0)})


def num_layers(language_model: LanguageModel) -> int:
    """How many layers the model has; valid `hidden_states` indices are 0 to this."""
    return int(language_model.model.config.get_text_config().num_hidden_layers)


def extract_features(
    language_model: LanguageModel,
    texts: Sequence[str],
    *,
    layers: Sequence[int],
    pooling: Sequence[Pooling] = ("mean", "last"),
    batch_tokens: int = 4096,
    max_length: int = 512,
    progress: Progress = SILENT,
) -> np.ndarray:
    """Pooled hidden states of each text.

    Neither layers above the deepest one asked for nor the output matrix are run. Texts are sorted by length and padded
    on the right; a causal model gets no mask then, since no real token sees the padding.

    Args:
        language_model: With any head; only its backbone is run.
        texts: N texts, in any order.
        layers: `hidden_states` indices, each from 0 to the number of layers.
        pooling: `mean` over the text's tokens, `last` its last token, or both.
        batch_tokens: Tokens run at once, padding included.
        max_length: Tokens of a text that are read.
        progress: Where a bar goes.

    Returns:
        float32 [N, len(layers) * len(pooling) * H]: for each layer in the order given, each pooling in the order given.

    Raises:
        ModelError: A layer that the model does not have, or no way to find its layers.
    """
    depth = num_layers(language_model)
    wrong = [layer for layer in layers if not 0 <= layer <= depth]
    if wrong or not layers:
        raise ModelError(f"layers {list(layers)} given; {language_model.name} has layers 0 (embeddings) to {depth}")
    if unknown := [name for name in pooling if name not in ("mean", "last")] or ([""] if not pooling else []):
        raise ValueError(f"pooling {unknown} given; expected mean, last, or both")
    rows = _encode(language_model, texts, max_length)
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
    out = np.zeros((len(rows), 0), dtype=np.float32)
    masked = not _is_causal(language_model, layers) if rows else False
    start = 0
    with progress.bar("Reading features", total=len(rows), unit="texts") as advance:
        while start < len(order):
            stop = start + 1
            while stop < len(order) and len(rows[order[stop]]) * (stop + 1 - start) <= batch_tokens:
                stop += 1
            batch = order[start:stop]
            pooled_BD = _pooled(language_model, [rows[i] for i in batch], layers, pooling, masked=masked)
            if not out.shape[1]:
                out = np.zeros((len(rows), pooled_BD.shape[1]), dtype=np.float32)
            out[batch] = pooled_BD.float().cpu().numpy()
            advance(len(batch))
            start = stop
    return out


def _encode(language_model: LanguageModel, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids with the model's own special tokens; a text of no tokens becomes one padding token."""
    if not len(texts):
        return []
    limit = getattr(language_model.model.config.get_text_config(), "max_position_embeddings", None) or max_length
    encoded = language_model.tokenizer(list(texts), truncation=True, max_length=min(max_length, limit))["input_ids"]
    return [ids or [language_model.tokenizer.pad_token_id] for ids in encoded]


@torch.inference_mode()
def _pooled(
    language_model: LanguageModel,
    rows: Sequence[Sequence[int]],
    layers: Sequence[int],
    pooling: Sequence[Pooling],
    *,
    masked: bool,
) -> Tensor:
    """Pooled hidden states of one batch, [B, D]."""
    backbone = language_model.model.base_model
    depth, device = num_layers(language_model), language_model.device
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), language_model.tokenizer.pad_token_id, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    lengths_B = torch.tensor([len(row) for row in rows], device=device)
    real_BT = torch.arange(width, device=device) < lengths_B[:, None]
    found: dict[int, Tensor] = {}

    def keep(layer: int, hidden: Tensor) -> None:
        parts = []
        for how in pooling:
            if how == "mean":
                total = torch.einsum("bth,bt->bh", hidden.float(), real_BT.float())
                parts.append(total / lengths_B[:, None])
            else:
                parts.append(hidden[torch.arange(len(rows), device=device), lengths_B - 1].float())
        found[layer] = torch.cat(parts, dim=-1)

    deepest = max(layers)
    blocks = _blocks(backbone, depth) if min(layers) < depth else []
    # The input of block `layer` is hidden_states[layer]; seeing the deepest one asked for ends the pass.
    handles = [
        blocks[layer].register_forward_pre_hook(_before_block(layer, keep, layer == deepest), with_kwargs=True)
        for layer in sorted(set(layers))
        if layer < depth
    ]
    try:
        mask = real_BT.long() if masked and not bool(real_BT.all()) else None
        output = backbone(input_ids=ids.to(device), attention_mask=mask, **_without_cache(backbone))
        keep(depth, output[0])
    except _Deep:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([found[layer] for layer in layers], dim=-1)


def _before_block(layer: int, keep: Any, last: bool) -> Any:
    """A hook that takes a block's input and, if nothing deeper is needed, ends the pass."""

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(layer, args[0] if args else kwargs["hidden_states"])
        if last:
            raise _Deep

    return hook


def _without_cache(backbone: nn.Module) -> dict[str, bool]:
    """Tell a model that can keep keys and values not to; encoders do not know the word."""
    return {"use_cache": False} if "use_cache" in inspect.signature(backbone.forward).parameters else {}


def _blocks(backbone: nn.Module, depth: int) -> nn.ModuleList:
    """The model's layers: its one list of `depth` modules of the same kind."""
    lists = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and len({type(block) for block in module}) <= 2
    ]
    if not lists:
        raise ModelError(
            f"{type(backbone).__name__}: no list of {depth} layers found in it, so hidden states cannot be read layer "
            "by layer; use fit: {{method: lora}}"
        )
    return lists[0]


def _is_causal(language_model: LanguageModel, layers: Sequence[int]) -> bool:
    """True if what stands after a token leaves its hidden state as it is; found out by padding one row."""
    deepest = [max(layers)]
    first, second, third = 5, 6, 7  # any ids
    alone = _pooled(language_model, [[first, second]], deepest, ["last"], masked=False)
    padded = _pooled(language_model, [[first, second], [first, second, third]], deepest, ["last"], masked=False)
    return bool(torch.allclose(alone[0], padded[0], atol=1e-4, rtol=1e-3))
