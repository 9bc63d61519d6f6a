"""The same prompts continued by every model, for people to read side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tutelage.models import context_tokens
from tutelage.students import TeacherView
from tutelage.types import SILENT, Document, Progress

_AT_ONCE = 16
"""Prompts continued together."""


def prompts_of(documents: Sequence[Document], count: int, *, tokens: int) -> list[np.ndarray]:
    """Beginnings of documents: all before the first trained token, else the first `tokens`, a third
    of a short one.

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

    Prompts of equal length are continued together: a processor spends most of a written token on
    reading the weights. So a text depends on the seed, its model, and the prompts that are written
    with it.

    Args:
        models: transformers causal language models that share the tokenizer, by name.
        tokenizer: Turns ids into text.
        prompts: Token ids.
        new_tokens: The most tokens written; fewer where a model's context ends before.
        sampling_temperature: Softening of the distribution that is drawn from.
        top_p: Mass of the most probable tokens that are drawn from.
        seed: Of the draws; every model starts from it anew for each batch of prompts.
        progress: Shows how far it is.

    Returns:
        For each prompt `{"prompt": text, "continuations": {name: text}}`.
    """
    texts: list[dict[str, str]] = [{} for _ in prompts]
    settings: dict[str, Any] = {
        "do_sample": True,
        "temperature": sampling_temperature,
        "top_p": top_p,
        "top_k": 0,
    }
    settings["pad_token_id"] = tokenizer.pad_token_id
    with (
        torch.random.fork_rng(devices=[]),
        progress.bar("Writing samples", total=len(models) * len(prompts), unit="texts") as advance,
    ):
        for name, model in models.items():
            own = settings | _without_padding_rows(model, len(tokenizer))
            # A trimmed student spells the prompt in pieces of its own, which may differ in number.
            for places in _batches(prompts, 1 if isinstance(model, TeacherView) else _AT_ONCE):
                torch.manual_seed(seed)
                batch = [prompts[place] for place in places]
                for place, tokens in zip(
                    places, _written(model, batch, new_tokens, own), strict=True
                ):
                    texts[place][name] = tokenizer.decode(tokens, skip_special_tokens=True)
                advance(len(places))
    return [
        {"prompt": tokenizer.decode(prompt), "continuations": found}
        for prompt, found in zip(prompts, texts, strict=True)
    ]


def _batches(prompts: Sequence[np.ndarray], most: int) -> Iterator[list[int]]:
    """Places of prompts of equal length, which need no padding."""
    by_length: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(place)
    for places in by_length.values():
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _written(
    model: Any, prompts: Sequence[np.ndarray], new_tokens: int, settings: Mapping[str, Any]
) -> list[list[int]]:
    """What a model writes after each of these prompts, up to where it ends its text."""
    ids = torch.from_numpy(np.stack(prompts).astype(np.int64)).to(model.device)
    room = min(new_tokens, context_of(model) - ids.shape[1])
    if room < 1:
        return [[] for _ in prompts]
    answer = model.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=room, **settings
    )
    # Behind the end of a text comes padding, for as long as others of the batch go on.
    ends = _ends(model)
    return [
        tokens[: next((at for at, token in enumerate(tokens) if token in ends), room)]
        for tokens in answer[:, ids.shape[1] :].tolist()
    ]


def _ends(model: Any) -> set[int]:
    """Tokens that end a text, in the ids that `generate` answers in."""
    found = model.generation_config.eos_token_id
    own = [found] if isinstance(found, int) else list(found or ())
    return set(model.kept[own].tolist()) if isinstance(model, TeacherView) else set(own)


def context_of(model: Any) -> int:
    """The most tokens that a model reads and writes together; a recurrent one knows no end."""
    found = context_tokens(model.config)
    return sys.maxsize if found is None else found


def _without_padding_rows(model: Any, vocabulary: int) -> dict[str, Any]:
    """Keep ids that the tokenizer does not make from being drawn: no loss ever told a student that
    they are none.
    """
    rows = int(model.config.get_text_config().vocab_size)
    return {"suppress_tokens": list(range(vocabulary, rows))} if rows > vocabulary else {}
