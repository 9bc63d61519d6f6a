"""What an answer costs: models that answer come in, milliseconds, answers per second and bytes go
out.

Two latencies can be compared only when they were taken on the same machine, in the same minutes, on
the same texts. So all models are measured in one interleaved run: every model answers a text before
any model sees the next one, and the order rotates.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage import metrics
from tutelage.errors import ModelError
from tutelage.types import SILENT, Progress

Predict = Callable[[Sequence[str]], NDArray[np.floating]]
"""Texts in, probabilities [B, C] out."""

_WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".onnx", ".npz")
_LEGACY_WEIGHTS = ("pytorch_model.bin",)
_TEXT_FILES = (
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
_NOT_FOR_ANSWERING = (
    "trainer_state.json",
    "all_results.json",
    "train_results.json",
    "eval_results.json",
    "metrics.json",
)


def exact(value: float) -> dict[str, float]:
    """A number known without error in the form of evaluation.json: low and high equal the value."""
    return {"value": float(value), "low": float(value), "high": float(value)}


def measure_latency(
    predictors: Mapping[str, Predict],
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    warm_up: int = 3,
    rounds: int = 3,
    samples: int = 1000,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = SILENT,
) -> dict[str, dict[str, dict[str, float]]]:
    """Time every model on the same texts: one text at a time, then in batches.

    The garbage collector rests while the clock runs. Throughput is taken on the texts sorted by
    length, as a service that batches would do; a model too fast for the clock answers them several
    times in a round.

    Args:
        predictors: Model by name; each takes texts and gives probabilities, tokenisation included.
        texts: What to answer; at least one. Each model answers all of them.
        batch_size: Texts per call when throughput is measured.
        warm_up: Calls per model that are not counted.
        rounds: Interleaved rounds of the throughput measurement.
        samples: Bootstrap resamples behind the latency intervals.
        seed: Seed of the resampling.
        clock: Seconds, monotonic.
        progress: Shows how far it is.

    Returns:
        By model, `latency_ms_p50`, `latency_ms_p95` (milliseconds of one text, with 95 % bootstrap
        intervals over texts) and
        `examples_per_second` (median of the rounds; low and high are the slowest and fastest
        round).

    Raises:
        ValueError: There is no text to measure with.
    """
    if not texts:
        raise ValueError(
            "latency needs at least one text and got none: give test rows, or set "
            "evaluate.latency_examples to 1 "
            "or more"
        )
    names = list(predictors)
    milliseconds: dict[str, list[float]] = {name: [] for name in names}
    speeds: dict[str, list[float]] = {name: [] for name in names}
    by_length = sorted(texts, key=len)
    batches = [
        by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)
    ]
    collecting = gc.isenabled()
    with progress.bar("Measuring cost", total=len(texts) + rounds, unit="text") as advance:
        try:
            for name in names:
                for call in range(warm_up):
                    predictors[name]([texts[call % len(texts)]])
            gc.collect()
            gc.disable()
            for position, text in enumerate(texts):
                for name in _rotated(names, position):
                    start = clock()
                    predictors[name]([text])
                    milliseconds[name].append((clock() - start) * 1000.0)
                advance(1)
            for turn in range(rounds):
                for name in _rotated(names, turn):
                    speeds[name].append(_examples_per_second(predictors[name], batches, clock))
                gc.collect()
                advance(1)
        finally:
            if collecting:
                gc.enable()
    return {
        name: {
            "latency_ms_p50": _percentile(milliseconds[name], 50, samples=samples, seed=seed),
            "latency_ms_p95": _percentile(milliseconds[name], 95, samples=samples, seed=seed),
            "examples_per_second": {
                "value": float(np.median(speeds[name])),
                "low": float(np.min(speeds[name])),
                "high": float(np.max(speeds[name])),
            },
        }
        for name in names
    }


def folder_bytes(path: Path) -> int:
    """The bytes a model needs on disk to answer: weights, configuration and tokenizer.

    Checkpoints, metrics, optimizer state and exports lie in the same folder and are not counted;
    nor are pickled weights where safetensors lie beside them, for nothing would load both.

    Args:
        path: A model folder in save_pretrained layout, or one weight file.

    Returns:
        Bytes, following links.

    Raises:
        ModelError: The path holds no weights.
    """
    if path.is_file():
        return path.stat().st_size
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else []
    weights = [file for file in files if file.suffix in _WEIGHT_SUFFIXES] or [
        file for file in files if file.name in _LEGACY_WEIGHTS
    ]
    if not weights:
        raise ModelError(
            f"{path} holds no weights ({', '.join('*' + suffix for suffix in _WEIGHT_SUFFIXES)} "
            "expected), so its "
            "size on disk is unknown: "
            "give the folder that the model was saved to"
        )
    beside = [
        file
        for file in files
        if file.name in _TEXT_FILES
        or (
            file.suffix == ".json"
            and file.name not in _NOT_FOR_ANSWERING
            and not file.name.startswith(".")
        )
    ]
    return sum(file.stat().st_size for file in [*weights, *beside])


def _rotated(names: list[str], by: int) -> list[str]:
    """The names beginning at another one each time, so that no model always follows the same
    one.
    """
    shift = by % len(names) if names else 0
    return names[shift:] + names[:shift]


def _examples_per_second(
    predict: Predict, batches: list[list[str]], clock: Callable[[], float]
) -> float:
    """Answer all batches until a tenth of a second has gone by, at least once."""
    answered, start = 0, clock()
    while True:
        for batch in batches:
            predict(batch)
            answered += len(batch)
        elapsed = clock() - start
        if elapsed >= 0.1:
            return answered / elapsed


def _percentile(
    values: list[float], percentile: float, *, samples: int, seed: int
) -> dict[str, float]:
    """A percentile of the timings with its bootstrap interval."""
    timings = np.asarray(values)
    interval = metrics.bootstrap(
        lambda indices: float(np.percentile(timings[indices], percentile)),
        len(timings),
        samples=samples,
        seed=seed,
    )
    return interval.as_dict()
