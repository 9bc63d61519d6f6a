"""What the numbers of a language model are made of: distributions at single tokens, and scores of
single documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tutelage.data.documents.packing import collate_packed
from tutelage.evaluate.tokens.scores import TokenScores
from tutelage.models.final_states import final_states
from tutelage.models.output import output_layer
from tutelage.runs import atomic_write_bytes
from tutelage.teachers.teacher import HiddenStates
from tutelage.types import Document

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
    per token), and for every model `NAME` (nats per token) and `NAME.kl`; null where nothing of a
    document is trained.

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
    for name, values in scores.items():
        columns[name or "teacher"] = means(values.nats)
        if values.kl is not None:
            columns[f"{name}.kl"] = means(values.kl)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    atomic_write_bytes(path, sink.getvalue().to_pybytes())
