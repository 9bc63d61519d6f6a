"""What a language model costs: tokens per second while it reads and while it writes, and memory.

All models are timed in one interleaved run on the same documents and threads, in an order that
rotates, because two speeds can be compared only if they were taken in the same minutes on the same
machine.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.evaluate.tokens.samples import context_of
from tutelage.types import SILENT, Progress

TokenIds = NDArray[np.int32]


@torch.inference_mode()
def measure_language_speed(
    models: Mapping[str, Any],
    prompts: Sequence[TokenIds],
    *,
    new_tokens: int = 32,
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = SILENT,
) -> dict[str, dict[str, dict[str, float]]]:
    """Time every model on the same prompts, one prompt at a time.

    Args:
        models: transformers causal language models, by name.
        prompts: Token ids; each is read whole, then continued. What would not fit into everyone's
            context together with the new tokens is cut off.
        new_tokens: Tokens written after each prompt, greedily, whatever they are.
        rounds: Interleaved rounds.
        clock: Seconds, monotonic.
        progress: Shows how far it is.

    Returns:
        By model, `prefill_tokens_per_second` (reading, up to the first new token),
        `tokens_per_second` (writing, prompt time excluded) and `latency_ms_p50`, `latency_ms_p95`
        (of one written token, over all rounds). `low` and `high` are those of the slowest and the
        fastest round.
    """
    names = list(models)
    prompts = cut_to_context(models.values(), prompts, new_tokens=new_tokens)
    reading: dict[str, list[float]] = {name: [] for name in names}
    writing: dict[str, list[float]] = {name: [] for name in names}
    single: dict[str, list[list[float]]] = {name: [] for name in names}
    for model in models.values():
        model.eval()
        on_gpu = model.device.type == "cuda"  # which loads other kernels for other lengths
        _continue(
            model, prompts[0] if on_gpu else prompts[0][:8], 2, clock
        )  # not counted: kernels chosen, pages touched
    num_read = sum(len(prompt) for prompt in prompts)
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        with progress.bar("Timing", total=rounds * len(names), unit="rounds") as advance:
            for turn in range(rounds):
                for place in range(len(names)):
                    name = names[(place + turn) % len(names)]
                    timed = [
                        _continue(models[name], prompt, new_tokens, clock) for prompt in prompts
                    ]
                    reading[name].append(num_read / sum(first for first, _ in timed))
                    steps = [step for _, later in timed for step in later]
                    writing[name].append(len(steps) / sum(steps) if steps else 0.0)
                    single[name].append([1000 * step for step in steps])
                    advance(1)
    finally:
        if gc_was_on:
            gc.enable()
    return {
        name: {
            "prefill_tokens_per_second": _rounds(reading[name]),
            "tokens_per_second": _rounds(writing[name]),
            "latency_ms_p50": _percentile(single[name], 50),
            "latency_ms_p95": _percentile(single[name], 95),
        }
        for name in names
    }


def cut_to_context(
    models: Iterable[Any], prompts: Sequence[TokenIds], *, new_tokens: int
) -> list[TokenIds]:
    """Prompts without what would not fit into everyone's context together with the new tokens."""
    room = max(1, min(context_of(model) for model in models) - new_tokens)
    return [prompt[:room] for prompt in prompts]


def peak_memory_bytes(folder: Path, prompt: TokenIds, dtype: torch.dtype) -> int | None:
    """Memory that a process needs to load a model and read a prompt, beyond what the imports alone
    take.

    Measured in a process of its own, so that nothing of this one counts.

    Args:
        folder: A model folder.
        prompt: Token ids.
        dtype: Of the weights, whatever the folder has.

    Returns:
        Bytes; None where the system does not tell (it is read from /proc).
    """
    if not Path("/proc/self/status").is_file():
        return None
    # Through a pipe: a word of a command line holds some 22,000 ids and no more.
    ids = ",".join(map(str, prompt.tolist()))
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(folder), str(dtype).removeprefix("torch.")],
        input=ids,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    try:
        return int(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return None


_PROBE = """
import pathlib, sys, torch
from tutelage.models import register
from tutelage.models.pretrained import from_pretrained
register()
def highest():
    for line in open("/proc/self/status", encoding="ascii"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
before = highest()
place = pathlib.Path(sys.argv[1])
model = from_pretrained("causal_lm", str(place), place, dtype=getattr(torch, sys.argv[2])).eval()
ids = torch.tensor([[int(word) for word in sys.stdin.read().split(",")]])
with torch.inference_mode():
    model(input_ids=ids, logits_to_keep=1)
print(highest() - before)
"""


def _continue(
    model: Any, prompt: TokenIds, new_tokens: int, clock: Callable[[], float]
) -> tuple[float, list[float]]:
    """Seconds until the first new token, and of each one after it."""
    ids = torch.from_numpy(prompt.astype(np.int64))[None].to(model.device)

    def finished() -> float:
        if ids.is_cuda:  # what was asked of it is done later
            torch.cuda.synchronize(ids.device)
        return clock()

    started = finished()
    answer = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    token = answer.logits[:, -1:].argmax(-1)
    first = finished() - started
    later = []
    for _ in range(new_tokens - 1):
        began = finished()
        answer = model(input_ids=token, use_cache=True, logits_to_keep=1, **_carried(answer))
        token = answer.logits[:, -1:].argmax(-1)
        later.append(finished() - began)
    return first, later


def _carried(answer: Any) -> dict[str, Any]:
    """What a model goes on from: keys and values, or the state of a recurrent one."""
    state = getattr(answer, "state", None)
    if state is not None:
        return {"state": state}
    # Newer versions of transformers call the keys and values `cache`.
    name = "cache" if "cache" in getattr(answer, "__dataclass_fields__", {}) else "past_key_values"
    return {name: getattr(answer, name)}


def _rounds(values: Sequence[float]) -> dict[str, float]:
    return {
        "value": float(np.median(values)),
        "low": float(min(values)),
        "high": float(max(values)),
    }


def _percentile(rounds: Sequence[Sequence[float]], percentile: float) -> dict[str, float]:
    """A percentile over all timings, and that of the round in which it was lowest and highest."""
    alone = [float(np.percentile(timings, percentile)) for timings in rounds if timings]
    if not alone:
        return {"value": 0.0, "low": 0.0, "high": 0.0}
    value = float(np.percentile(np.concatenate(rounds), percentile))
    # Between two timings a percentile is interpolated, so that over all it may lie a hair outside.
    return {"value": value, "low": min(value, *alone), "high": max(value, *alone)}
