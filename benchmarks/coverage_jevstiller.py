"""The other side of `coverage.py`, in an environment with jevstiller: its student on the given
embeddings, its thresholds on the given rows, its defaults.

    python coverage_jevstiller.py ROWS.npz OUT.json --resplits 100 --engine 10

Twice: its fit and policy on the rows that the other side has, and, fewer times, the whole engine
with its `ReplayTeacher`, which draws its calibration rows itself from all rows but those judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jevstiller import (  # pyright: ignore[reportMissingImports]
    Config,
    Jevstiller,
    ReplayTeacher,
    Task,
    TeacherOutput,
)
from jevstiller._calibrate import (  # pyright: ignore[reportMissingImports]
    fit_policy,
    threshold_grid,
)
from jevstiller._training import fit_candidate  # pyright: ignore[reportMissingImports]

SHARE, CONFIDENCE = 0.02, 0.95


def halves(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Calibration rows and judged rows; `coverage.py` has the same."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[: rows // 2], order[rows // 2 :]


def redrawn(rows: int, seed: int) -> np.ndarray:
    """Calibration rows drawn from all of them, with replacement; `coverage.py` has the same."""
    return np.random.default_rng(10_000 + seed).integers(rows, size=rows // 2)


def judged(answered: np.ndarray, disagreed: np.ndarray) -> dict[str, float]:
    return {
        "coverage": float(answered.mean()),
        "disagreement": float((answered & disagreed).mean()),
    }


def on_the_same_rows(found: Any, resplits: int) -> dict[str, Any]:
    """Its student fitted once to what was learned from, its policy on each calibration half."""
    config = Config()
    parts = ("train", "unlabeled", "validation")
    inputs = np.concatenate([found[f"X_{part}"] for part in parts])
    targets = np.concatenate([found[f"T_{part}"] for part in parts])
    test, answers = found["X_test"], found["T_test"].argmax(axis=1)
    labels = [f"c{place}" for place in range(targets.shape[1])]
    budget = SHARE * (1 - config.fit_headroom)
    began = time.perf_counter()
    fitted = fit_candidate(
        inputs, targets, None, test[:2], answers[:2], budget=budget, delta=1 - CONFIDENCE,
        ood_quantile=config.ood_quantile, ood_k=config.ood_k, epochs=config.student_epochs,
        l2=config.student_l2, patience=config.student_patience, seed=config.seed, threads=1,
        labels=labels,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    counts = np.bincount(targets.argmax(axis=1), minlength=len(labels))
    rare = [
        label
        for label, count in zip(labels, counts, strict=True)
        if count < config.min_samples_per_class
    ]
    probs = fitted.student.predict_proba(test)
    confidence, disagreed = probs.max(axis=1), probs.argmax(axis=1) != answers
    named = np.array(labels, dtype=object)[probs.argmax(axis=1)]
    distance = fitted.ood.score(test)
    limit = fitted.ood.threshold(config.ood_quantile, seed=config.seed)
    each: dict[str, list[dict[str, float]]] = {}
    everybody = np.arange(len(test))
    for seed in range(resplits):
        calibration, held = halves(len(test), seed)
        draws = redrawn(len(test), seed)
        for name, deferred in (("defaults", rare), ("no_class_deferred", [])):
            for kind, rows, judging in (
                ("", calibration, held),
                ("redrawn_", draws, everybody),
            ):
                policy = fit_policy(
                    confidence[rows], ~disagreed[rows], distance[rows], budget, 1 - CONFIDENCE,
                    ood_threshold=limit, candidates=threshold_grid(len(labels)),
                    eligible=~np.isin(named[rows], deferred), deferred_labels=deferred,
                )  # fmt: skip
                answered = policy.accepts(confidence[judging], distance[judging], named[judging])
                each.setdefault(kind + name, []).append(judged(answered, disagreed[judging]))
    return {
        "agreement": float(1 - disagreed.mean()),
        "rare_classes": len(rare),
        "fit_seconds": seconds,
        **each,
    }


class Known:
    """An encoder that looks embeddings up."""

    id, dim = "minilm-looked-up", 384

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors

    def encode(self, texts: Any) -> np.ndarray:
        return np.stack([self.vectors[text] for text in texts])


def the_engine(found: Any, resplits: int) -> list[dict[str, float]]:
    """All of jevstiller on a stream of the rows: what it records, draws, fits and promotes."""
    parts = ("train", "unlabeled", "validation", "test")
    sizes = [len(found[f"X_{part}"]) for part in parts]
    vectors = np.concatenate([found[f"X_{part}"] for part in parts])
    targets = np.concatenate([found[f"T_{part}"] for part in parts])
    labels = [f"c{place}" for place in range(targets.shape[1])]
    texts = [f"row {place}" for place in range(len(vectors))]
    known = {
        text: TeacherOutput(
            label=labels[int(row.argmax())],
            probs=dict(zip(labels, map(float, row), strict=True)),
            confidence=float(row.max()),
        )
        for text, row in zip(texts, targets, strict=True)
    }
    encoder = Known(dict(zip(texts, vectors, strict=True)))
    results = []
    for seed in range(resplits):
        calibration, held = halves(sizes[-1], seed)
        before = sum(sizes[:-1])
        stream = np.random.default_rng(seed).permutation(
            np.concatenate([np.arange(before), before + calibration])
        )
        config = Config(
            training="manual",
            audit_rate=0.0,
            audit_rate_shadow=0.0,
            train_threads=1,
            min_free_disk_mb=0,
            seed=seed,
        )
        with tempfile.TemporaryDirectory() as folder:
            task = Task(
                name="benchmark",
                instructions="classify",
                classes=labels,
                target_agreement=1 - SHARE,
            )
            engine = Jevstiller(task, ReplayTeacher(known), folder, encoder=encoder, config=config)
            for start in range(0, len(stream), 256):
                engine.classify_batch([texts[place] for place in stream[start : start + 256]])
            report = engine.train_now()
            if report.accepted:
                engine.promote(report.version)
                routed = engine.route([texts[before + place] for place in held])
                answered = np.ones(len(held), dtype=bool)
                answered[routed.to_teacher] = False
                wrong = np.array(
                    [
                        result is not None and result.label != known[texts[before + place]].label
                        for place, result in zip(held, routed.results, strict=True)
                    ]
                )
            else:
                answered = wrong = np.zeros(len(held), dtype=bool)
            results.append({**judged(answered, wrong), "calibration_rows": report.n_calib})
            engine.close()
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--resplits", type=int, default=100)
    parser.add_argument("--engine", type=int, default=10)
    options = parser.parse_args()
    found = np.load(options.rows)
    report = {
        "version": version("jevstiller"),
        "same_rows": on_the_same_rows(found, options.resplits),
        "engine": the_engine(found, options.engine),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
