"""The gradient that a trained student gets from stored targets, against the one from whole
distributions.

For `target_store.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from target_store_bench import BATCH_TOKENS, BUCKETS, TOP_K, Bench, first_tokens, kind_of
from tutelage.losses import BucketTeacher
from tutelage.models.final_states import final_states
from tutelage.models.output import output_layer
from tutelage.targets import SparseTargets
from tutelage.train.steps.tokens.targets import sparse_side
from tutelage.types import Document

GRADIENT_CHUNK = 512
"""Positions whose logits are held at once."""


@torch.inference_mode()
def gradient_angles(
    bench: Bench, student: Any, stored: dict[str, list[SparseTargets]]
) -> dict[str, dict[str, float]]:
    """Angle and norm of the gradient with respect to the student's output matrix, against the dense
    one.

    Of the last document of the batch only some positions are used.
    """
    batch, vocabulary = first_tokens(bench.measured, BATCH_TOKENS), bench.teacher.vocabulary
    output = output_layer(student)
    weight = output.weight[:vocabulary]
    sides = {name: sparse_side(stored[name][: len(batch)], kind=kind_of(name)) for name in stored}
    # Sums over chunks of positions, kept on disk: whoever is stopped goes on where they were.
    path = bench.work / "gradients.pt"
    if path.is_file():
        sums = torch.load(path)
    else:
        hidden = torch.cat([student_states(student, document) for document in batch])[:BATCH_TOKENS]
        sums = {"done": 0, "divergence": 0.0, "hidden": hidden}
        sums |= {name: torch.zeros(weight.shape) for name in ("student", "teacher", *BUCKETS)}
    hidden, teacher_states = sums["hidden"], torch.from_numpy(bench.states()[:BATCH_TOKENS])
    while sums["done"] < BATCH_TOKENS:
        here = slice(sums["done"], sums["done"] + GRADIENT_CHUNK)
        states = hidden[here]
        student_logprobs = torch.log_softmax(states @ weight.T, dim=-1)
        probs = student_logprobs.exp()
        sums["student"].addmm_(probs.T, states)
        teacher_logprobs = torch.log_softmax(bench.teacher.logits(teacher_states[here]), dim=-1)
        masses = teacher_logprobs.exp()
        sums["divergence"] += float((masses * (teacher_logprobs - student_logprobs)).sum())
        sums["teacher"].addmm_(masses.T, states)
        for name in BUCKETS:
            side = sides[name]
            assert isinstance(side, BucketTeacher)
            ids, kept = side.ids[here], side.logprobs[here].exp()
            found = probs.gather(-1, ids)
            # On kept ids q - p; on every other id q (1 - tail of p / tail of q).
            left, mine = 1 - kept.sum(dim=-1), (1 - found.sum(dim=-1)).clamp_min(1e-12)
            off = 1 - left / mine
            sums[name].addmm_((probs * off[:, None]).T, states)
            scatter(sums[name], ids, found * (1 - off[:, None]) - kept, states)
        sums["done"] += GRADIENT_CHUNK
        torch.save(sums, path)
    student_part, dense, divergence = sums["student"], sums["teacher"], sums["divergence"]
    expected = student_part - dense
    result: dict[str, dict[str, float]] = {"student": {"kl_nats": divergence / BATCH_TOKENS}}
    for name, side in sides.items():
        ids = side.ids[:BATCH_TOKENS]
        masses = side.logprobs.exp() if isinstance(side, BucketTeacher) else side.probs
        masses = masses[:BATCH_TOKENS]
        if name in TOP_K:
            if name in BUCKETS:
                result[f"{name}, tail bucket"] = compare(expected, sums[name])
            masses = masses / masses.sum(dim=-1, keepdim=True)
            name = f"{name}, renormalised"
        result[name] = compare(expected, scatter(student_part.clone(), ids, -masses, hidden))
    return result


def student_states(student: Any, document: Document) -> Tensor:
    """What the student's output matrix multiplies at the trained positions of a document, [P,
    H]."""
    ids = torch.from_numpy(document.token_ids.astype(np.int64))[None]
    zeros = torch.zeros_like(ids)
    states = final_states(student, ids, torch.arange(ids.shape[1])[None], zeros)
    return states[0][torch.from_numpy(document.trained[1:].nonzero()[0])]


def scatter(total: Tensor, ids: Tensor, masses: Tensor, states: Tensor) -> Tensor:
    """total[id] += mass * state, for every entry of every position; in place."""
    for start in range(0, len(ids), GRADIENT_CHUNK):
        here = slice(start, start + GRADIENT_CHUNK)
        rows, places = (masses[here] != 0).nonzero(as_tuple=True)
        values = masses[here][rows, places][:, None] * states[here][rows]
        total.index_add_(0, ids[here][rows, places], values)
    return total


def compare(expected: Tensor, found: Tensor) -> dict[str, float]:
    """Angle in degrees and ratio of norms."""
    one, other = expected.double().flatten(), found.double().flatten()
    cosine = float(one @ other / (one.norm() * other.norm()))
    return {
        "angle_degrees": math.degrees(math.acos(min(1.0, cosine))),
        "norm_ratio": float(other.norm() / one.norm()),
    }
