"""Targets over tokens that a test can make up: random ones of every shape, and ones like a language
model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tutelage.targets import (
    HiddenTargets,
    SparseTargets,
    TargetStore,
    TargetWriter,
    write_output_matrix,
)

VOCABULARY, HIDDEN = 400, 6
SETTINGS = {"teacher": "t1", "tokenizer": "k1", "vocabulary_size": VOCABULARY, "seed": 3}
ENCODINGS = {"sampled": {"threshold": 0.05}, "top_k": {"k": 5}, "hidden": {}}
STORE_KINDS = tuple(ENCODINGS)


def name(number: int) -> bytes:
    """A content id."""
    return number.to_bytes(16, "big")


def sparse_document(
    chance: np.random.Generator,
    positions: int,
    *,
    kind: str = "sampled",
    vocabulary: int = VOCABULARY,
    most: int = 6,
) -> SparseTargets:
    """Positions with up to `most` head and as many tail entries, any mass among them; also one
    entry alone."""
    counts, heads, ids, logprobs = [], [], [], []
    for _ in range(positions):
        head, tail = int(chance.integers(0, most + 1)), int(chance.integers(0, most + 1))
        if kind == "top_k":
            head, tail = max(1, head), 0
        elif not head + tail:
            head = 1
        masses = chance.gamma(0.3, size=head + (tail > 0)) + 1e-12
        if kind == "top_k":
            masses *= chance.uniform(0.2, 1) / masses.sum()
        masses = np.maximum(masses / (1 if kind == "top_k" else masses.sum()), 1e-12)
        chosen = chance.choice(vocabulary, head + tail, replace=False)
        counts.append(head + tail)
        heads.append(head)
        ids.append(chosen)
        logprobs += [np.log(masses[:head]), np.full(tail, np.log(masses[-1] / max(tail, 1)))]
    none = [np.zeros(0)]
    return SparseTargets(
        np.array(counts, np.uint16),
        np.array(heads, np.uint16),
        np.concatenate(ids or none).astype(np.int32),
        np.concatenate(logprobs or none).astype(np.float32),
        chance.uniform(0, np.log(vocabulary), positions).astype(np.float32),
    )


def hidden_document(
    chance: np.random.Generator, positions: int, *, hidden: int = HIDDEN
) -> HiddenTargets:
    """States with a scale each."""
    return HiddenTargets(
        chance.integers(-127, 128, (positions, hidden)).astype(np.int8),
        chance.uniform(0.01, 0.1, positions).astype(np.float32),
        chance.uniform(0, 5, positions).astype(np.float32),
    )


def document(
    chance: np.random.Generator, positions: int, *, kind: str
) -> SparseTargets | HiddenTargets:
    """Targets of any kind."""
    return (
        hidden_document(chance, positions)
        if kind == "hidden"
        else sparse_document(chance, positions, kind=kind)
    )


def documents(kind: str, lengths: list[int], *, seed: int = 0) -> list:
    """Targets of several documents."""
    return [
        document(np.random.default_rng([seed, row]), length, kind=kind)
        for row, length in enumerate(lengths)
    ]


def open_writer(path: Path, kind: str, **settings) -> TargetWriter:
    """A writer with the settings of these tests."""
    if kind == "hidden" and not (path / "output.safetensors").exists():
        write_output_matrix(path, **output_matrix())
    return TargetWriter.open(
        path, **{"kind": kind, "encoding": ENCODINGS[kind], **SETTINGS, **settings}
    )


def write(path: Path, kind: str, values: list, ids: list[bytes] | None = None, **settings) -> Path:
    """A finished store."""
    with open_writer(path, kind, **settings) as writer:
        writer.add(ids if ids is not None else [name(row) for row in range(len(values))], values)
        writer.finish()
    return path


def lookup(path: Path, count: int) -> list:
    """Targets of the first documents of a store."""
    return TargetStore.open(path).lookup([name(row) for row in range(count)])


def output_matrix() -> dict:
    """A matrix for `HIDDEN` channels."""
    return {"weight": np.random.default_rng(0).normal(size=(VOCABULARY, HIDDEN))}


def language_documents(
    number: int, positions: int, *, vocabulary: int, threshold: float
) -> list[SparseTargets]:
    """Head and systematic draw of the tail, of distributions that fall off as those of language
    models do."""
    chance = np.random.default_rng(0)
    frequency = 1 / (np.arange(vocabulary) + 20.0)
    topics = frequency * np.exp(chance.normal(0, 1.0, (6, vocabulary)))
    topics = (topics.T / topics.sum(axis=1)).T
    climbs, common = np.cumsum(topics, axis=1), np.cumsum(frequency / frequency.sum())
    documents = []
    for _ in range(number):
        counts, heads, ids, logprobs = [], [], [], []
        for _ in range(positions):
            # A few words that fit here, and for the rest a topic without them.
            fitting = np.unique(np.searchsorted(common, chance.random(6)))
            topic, fit = chance.integers(len(topics)), chance.gamma(0.5, size=len(fitting) + 1)
            probs = fit[1:] / fit.sum()
            head = fitting[probs >= threshold][np.argsort(-probs[probs >= threshold])]
            kept = np.sort(probs[probs >= threshold])[::-1]
            mass = 1 - kept.sum()
            draws = max(1, int(mass / threshold))
            tail = np.searchsorted(
                climbs[topic], (np.arange(draws) + chance.random()) / draws, side="right"
            )
            tail = np.setdiff1d(tail, head)
            counts.append(len(head) + len(tail))
            heads.append(len(head))
            ids += [head, tail]
            scale = 0.0 if len(tail) else np.log(kept.sum())
            logprobs += [np.log(kept) - scale, np.full(len(tail), np.log(mass / max(len(tail), 1)))]
        documents.append(
            SparseTargets(
                np.array(counts, np.uint16),
                np.array(heads, np.uint16),
                np.concatenate(ids).astype(np.int32),
                np.concatenate(logprobs).astype(np.float32),
                chance.normal(3, 1, positions).clip(0).astype(np.float32),
            )
        )
    return documents


def assert_same(found: list, expected: list) -> None:
    """Bit for bit, field by field."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        for field in type(one).__slots__:
            left, right = getattr(one, field), getattr(other, field)
            assert left.dtype == right.dtype
            assert np.array_equal(left, right), field


def positions_of(value: SparseTargets) -> list[tuple[dict[int, float], dict[int, float]]]:
    """Head and tail of each position as probabilities by id."""
    shown, start = [], 0
    for count, heads in zip(value.counts.tolist(), value.heads.tolist(), strict=True):
        ids = value.ids[start : start + count].tolist()
        probs = np.exp(value.logprobs[start : start + count].astype(np.float64)).tolist()
        shown.append(
            (
                dict(zip(ids[:heads], probs[:heads], strict=True)),
                dict(zip(ids[heads:], probs[heads:], strict=True)),
            )
        )
        start += count
    return shown
