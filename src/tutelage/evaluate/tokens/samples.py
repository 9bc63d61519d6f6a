"""What the numbers of language models are made of, to be looked at: the same prompts continued by
every model, distributions at single tokens, and scores of single documents.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tutelage.data.documents.packing import collate_packed
from tutelage.evaluate.tokens.scores import TokenScores, view_of
from tutelage.models import context_tokens
from tutelage.models.final_states import final_states
from tutelage.models.output import output_layer
from tutelage.runs import atomic_write_bytes
from tutelage.teachers.teacher import HiddenStates
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
            for places in _batches(prompts, _AT_ONCE if view_of(model) is None else 1):
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
    view = view_of(model)
    return set(own if view is None else view.kept[own].tolist())


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


SHOWN_TOKENS = 5
CONTEXT_TOKENS = 16


@torch.no_grad()
def show_distributions(
    teacher: HiddenStates,
    models: Mapping[str, Any],
    documents: Sequence[Document],
    *,
    count: int = 6,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """The teacher's most probable next tokens at a few places of held-out text, and what each model
    gives them.

    Args:
        teacher: Whose choices are shown.
        models: Causal language models over the same vocabulary, by name.
        documents: Held-out documents; places are drawn from them at random, whatever anybody says
            there.
        count: How many places.
        seed: Of the draw.

    Returns:
        For each place
        `{"context", "next", "tokens": [text], "teacher": [probability], "models": {name: [...]}}`.
    """
    generator = np.random.default_rng(seed)
    long_enough = [
        document for document in documents if document.positions > CONTEXT_TOKENS
    ] or list(documents)
    chosen = generator.choice(len(long_enough), size=min(count, len(long_enough)), replace=False)
    shown = []
    for index in sorted(int(place) for place in chosen):
        document = long_enough[index]
        packed = collate_packed([document], [[0]], pad_id=0)
        place = int(generator.integers(document.positions // 2, document.positions))
        teacher_logits = teacher.logits(teacher.hidden_states([document])[0][place][None])
        probs = torch.softmax(teacher_logits.float(), dim=-1)[0].cpu()
        best = probs.topk(min(SHOWN_TOKENS, len(probs)))
        answers = {}
        for name, model in models.items():
            here = packed.to(model.device)
            states = final_states(model, here.input_ids, here.position_ids, here.segments)
            state = states.flatten(0, 1)[here.positions[place]][None]
            logits = output_layer(model).logits(state)[:, : teacher.vocabulary]
            answers[name] = torch.softmax(logits.float(), dim=-1)[0].cpu()[best.indices].tolist()
        position = int(np.flatnonzero(document.trained)[place])
        shown.append(
            {
                "context": teacher.tokenizer.decode(
                    document.token_ids[max(0, position - CONTEXT_TOKENS) : position]
                ),
                "next": teacher.tokenizer.decode([int(document.token_ids[position])]),
                "tokens": [teacher.tokenizer.decode([token]) for token in best.indices.tolist()],
                "teacher": best.values.tolist(),
                "models": answers,
            }
        )
    return shown


def write_document_scores(
    path: Path, documents: Sequence[Document], scores: Mapping[str, TokenScores], *, tokenizer: Any
) -> None:
    """Write predictions.parquet: one row a test document, with the mean nats per token and KL of
    every model.

    Columns: `example_id` (hexadecimal), `source`, `row`, `text`, `tokens`, `bytes`, `teacher` (nats
    per token; null where the teacher tells no probabilities), and for every model `NAME` (nats per
    token) and, beside a teacher that does, `NAME.kl`; null where nothing of a document is trained.

    Args:
        path: The file, replaced as a whole.
        documents: As they were scored.
        scores: From `score_models`; the teacher is called `""`.
        tokenizer: Turns ids into text.
    """
    positions = np.array([document.positions for document in documents])
    document_of = np.repeat(np.arange(len(documents)), positions)

    def means(values: np.ndarray) -> pa.Array:
        sums = np.bincount(document_of, weights=values, minlength=len(documents))
        return pa.array((sums / np.maximum(1, positions)).astype(np.float32), mask=positions == 0)

    columns: dict[str, Any] = {
        "example_id": [document.example_id.hex() for document in documents],
        "source": [document.source for document in documents],
        "row": [document.row for document in documents],
        "text": [
            tokenizer.decode(document.token_ids, skip_special_tokens=True) for document in documents
        ],
        "tokens": positions,
        "bytes": [document.num_bytes for document in documents],
    }
    columns["teacher"] = pa.nulls(len(documents), pa.float32())
    for name, values in scores.items():
        columns[name or "teacher"] = means(values.nats)
        if values.kl is not None:
            columns[f"{name}.kl"] = means(values.kl)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    atomic_write_bytes(path, sink.getvalue().to_pybytes())
