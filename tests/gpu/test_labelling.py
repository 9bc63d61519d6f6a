"""Targets that a teacher on a device writes: its distributions are those of the processor, and
sampled ones have them as their mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.train.tiny_language import (
    EXACT,
    VOCABULARY,
    teacher_logits,
    tiny_documents,
    tiny_llama,
    tiny_teacher,
)

from tutelage.teachers import label_documents

DOCUMENTS = tiny_documents(6)


def placed(device: str) -> Any:
    return tiny_teacher(tiny_llama(7).to(device))


def dense(found: Any, size: int = VOCABULARY) -> np.ndarray:
    """Kept entries of every position as rows of probabilities, [P, V]."""
    rows = np.zeros((len(found.counts), size))
    np.add.at(
        rows,
        (np.repeat(np.arange(len(found.counts)), found.counts), found.ids),
        np.exp(found.logprobs.astype(np.float64)),
    )
    return rows


def exact(document: Any) -> np.ndarray:
    logits = teacher_logits(tiny_teacher(), document)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def labelled(device: str, out: Path, kind: str, **options: Any) -> list[Any]:
    encoding = options.pop("encoding", EXACT[kind])
    store = label_documents(
        placed(device), DOCUMENTS, out=out, kind=kind, encoding=encoding, **options
    )
    return store.lookup([one.example_id for one in DOCUMENTS])


def test_distributions_are_those_of_the_processor(device: str, tmp_path: Path) -> None:
    teacher = placed(device)
    assert teacher.device.type == device
    for document, states in zip(DOCUMENTS, teacher.hidden_states(DOCUMENTS), strict=True):
        logits = (states.float() @ teacher.head.detach().weight.float().T)[:, :VOCABULARY]
        np.testing.assert_allclose(logits.softmax(-1).cpu(), exact(document), atol=1e-4)
    there, here = (labelled(one, tmp_path / f"to-{one}", "top_k") for one in (device, "cpu"))
    for one, other in zip(there, here, strict=True):  # which keep log-probabilities in few bits
        np.testing.assert_allclose(dense(one), dense(other), rtol=0.05, atol=1e-4)


def test_states_are_those_of_the_processor(device: str, tmp_path: Path) -> None:
    there = labelled(device, tmp_path / "there", "hidden")
    here = labelled("cpu", tmp_path / "here", "hidden")
    for one, other in zip(there, here, strict=True):
        size = np.abs(other.states).max() * np.abs(other.scales).max()
        mine, theirs = (
            part.states.astype(np.float64)
            * part.scales.astype(np.float64).reshape(len(part.states), -1)
            for part in (one, other)
        )
        assert np.abs(mine - theirs).max() <= 0.02 * size  # a step of eight bits


def test_the_mean_of_sampled_targets_is_the_distribution(device: str, tmp_path: Path) -> None:
    draws = 16
    sums: list[Any] = [0.0] * len(DOCUMENTS)
    for seed in range(draws):
        found = labelled(
            device, tmp_path / f"{seed}", "sampled", encoding={"threshold": 0.2}, seed=seed
        )
        sums = [total + dense(one) for total, one in zip(sums, found, strict=True)]
    off = np.concatenate(
        [total / draws - exact(one) for total, one in zip(sums, DOCUMENTS, strict=True)]
    )
    assert abs(off.sum(axis=1)).max() < 0.2
    assert np.abs(off).mean() < 0.01
    assert np.sqrt(np.square(off).sum(axis=1).mean()) < 0.2
