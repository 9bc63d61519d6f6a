"""Coverage-guided fuzzing: `python -m tests.hostile.fuzzing NAME SECONDS [FOLDER]`.

Without words every target runs for ten seconds, each in a process of its own. atheris (extra
`fuzz`) sees which branches of tutelage an input reaches, and keeps those that reach new ones; torch
and the other libraries are not instrumented. Faults are counted once for the place in tutelage that
they come from, and their inputs kept in FOLDER/faults. Exit code 1 where there is one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from tests.hostile.fuzzing.mutating import mutated

PACKAGES = ["tutelage", "tutelage_runtime"]
NAMES = [
    "recipe",
    "csv",
    "jsonl",
    "parquet",
    "manifest",
    "part",
    "model_config",
    "tokenizer_config",
    "safetensors",
    "gguf",
    "recorded",
    "bundle",
    "certificate",
    "novelty",
    "server",
]
MOST_BYTES = 16_384
"""Of an input; larger ones are what `test_endless.py` is about."""


def place_of(error: BaseException) -> str:
    """Where in tutelage an error comes from, and its kind."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "/src/tutelage" in frame[0]
    ]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "elsewhere"
    return f"{type(error).__name__} at {where}"


def fuzz(name: str, seconds: float, folder: Path) -> None:
    """Run one target; does not return."""
    import atheris

    corpus, faults = folder / "corpus" / name, folder / "faults"
    corpus.mkdir(parents=True, exist_ok=True)
    faults.mkdir(exist_ok=True)
    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        from tests.hostile.fuzzing.targets import TARGETS

        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        target = TARGETS[name](Path(tempfile.mkdtemp(dir=folder)))
        for seed in target.seeds:  # imports what is only imported where it is used
            target.read(seed)
    for seed in target.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    seen: set[str] = set()

    def once(content: bytes) -> None:
        try:
            target.read(content)
        except Exception as error:
            place = place_of(error)
            if place not in seen:
                seen.add(place)
                digest = hashlib.sha256(content).hexdigest()[:16]
                (faults / f"{name}-{digest}").write_bytes(content)
                print(f"FAULT {place}: {str(error)[:300]} [{name}-{digest}]", flush=True)

    start = target.json_from or 0

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.6:
            found = mutated(content[start:], draw)
            if found is not None and len(found) + start <= most:
                return content[:start] + found
        return atheris.Mutate(content, most)

    options = [f"-max_total_time={seconds:.0f}", f"-max_len={MOST_BYTES}", "-timeout=60",
               "-rss_limit_mb=3072", "-verbosity=1", "-print_final_stats=1",
               f"-artifact_prefix={faults}/{name}-"]  # fmt: skip
    custom = {} if target.json_from is None else {"custom_mutator": mutate}
    atheris.Setup([sys.argv[0], *options, str(corpus)], once, **custom)
    atheris.Fuzz()


def run(name: str, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Run one target in a process of its own.

    Returns:
        How many inputs it read, and its faults.
    """
    words = [sys.executable, "-m", "tests.hostile.fuzzing", name, str(seconds), str(folder)]
    settings = os.environ | {"TUTELAGE_FUZZ_HERE": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", env=settings)
    said = done.stdout + done.stderr
    found = re.findall(r"stat::number_of_executed_units:\s+(\d+)", said)
    faults = [line for line in said.splitlines() if line.startswith("FAULT")]
    if done.returncode or not found:
        faults.append(f"FAULT ended with {done.returncode}: {said[-1500:]}")
    return int(found[-1]) if found else 0, faults


def main(words: list[str]) -> int:
    """Run what is asked for, and print a line for each target."""
    seconds = float(words[1]) if len(words) > 1 else 10.0
    folder = Path(words[2]) if len(words) > 2 else Path(tempfile.mkdtemp(prefix="tutelage-fuzz-"))
    if "TUTELAGE_FUZZ_HERE" in os.environ:
        fuzz(words[0], seconds, folder)
    names = words[0].split(",") if words and words[0] != "all" else NAMES
    failed = 0
    for name in names:
        count, faults = run(name, seconds, folder)
        print(f"{name:17} {count:>9,} inputs {seconds:5.0f} s {len(faults):>3} faults", flush=True)
        for fault in faults:
            print("  " + fault, flush=True)
        failed += bool(faults)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
