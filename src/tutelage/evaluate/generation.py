"""The same prompts continued by every model, for people to read side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tutelage.types import SILENT, Document, Progress


def prompts_of(documents: Sequence[Document], count: int, *, tokens: int) -> list[np.ndarray]:
    """Beginnings of documents: all before the first trained token, else the first `tokens`, a third of a short one.

    Args:
        documents: Held-out documents; the first `count` long enough ones are taken.
        count: How many prompts.
        tokens: Length of a beginning where the whole document is trained.
    """
    prompts: list[np.ndarray] = []
    for document in documents:
        if len(prompts) >= count:
            break
        first = int(document.trained.argmax()) if document.trained.any() else 0
        length = first if first > 1 else min(tokens, len(document.token_ids) // 3)
        if 0 < length < len(document.token_ids):
            prompts.append(document.token_ids[:length])
    return prompts


@torch.inference_mode()
def continue_prompts(
    models: Mapping[str, Any],
    tokenizer: Any,
    prompts: Sequence[np.ndarray],
    *,
    new_tokens: int = 64,
    sampling_temperature: float = 0.7,
    top_p: float = 0.9,
    seed: int = 0,
    progress: Progress = SILENT,
) -> list[dict[str, Any]]:
    """Let every model continue every prompt, by sampling under one seed.

    Args:
        models: transformers causal language models that share the tokenizer, by name.
        tokenizer: Turns ids into text.
        prompts: Token ids.
        new_tokens: The most tokens written; fewer where a model's context ends before.
        sampling_temperature: Softening of the distribution that is drawn from.
        top_p: Mass of the most probable tokens that are drawn from.
        seed: Of the draws; each prompt of each model starts from it anew.
        progress: Shows how far it is.

    Returns:
        For each prompt `{"prompt": text, "continuations": {name: text}}`.
    """
    found = []
    with (
        torch.random.fork_rng(devices=[]),
        progress.bar("Writing samples", total=len(models) * len(prompts), unit="texts") as advance,
    ):
        for prompt in prompts:
            ids = torch.from_numpy(prompt.astype(np.int64))[None]
            texts = {}
            for name, model in models.items():
                torch.manual_seed(seed)
                room = min(new_tokens, context_of(model) - len(prompt))
                if room < 1:
                    texts[name] = ""
                    advance(1)
                    continue
                written = model.eval().generate(
                    input_ids=ids.to(model.device),
                    attention_mask=torch.ones_like(ids).to(model.device),
                    max_new_tokens=room,
                    do_sample=True,
                    temperature=sampling_temperature,
                    top_p=top_p,
                    top_k=0,
                    pad_token_id=tokenizer.pad_token_id,
                    **_without_padding_rows(model, len(tokenizer)),
                )
                texts[name] = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
                advance(1)
            found.append({"prompt": tokenizer.decode(prompt), "continuations": texts})
    return found


def context_of(model: Any) -> int:
    """The most tokens that a model reads and writes together; a recurrent one knows no end."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return sys.maxsize if found is None else int(found)


def _without_padding_rows(model: Any, vocabulary: int) -> dict[str, Any]:
    """Keep ids that the tokenizer does not make from being drawn: no loss ever told a student that they are none."""
    rows = int(model.config.get_text_config().vocab_size)
    return {"suppress_tokens": list(range(vocabulary, rows))} if rows > vocabulary else {}
