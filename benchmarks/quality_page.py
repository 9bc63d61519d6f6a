"""What the runs of `quality.py` found, over seeds, and its page.

In: finished run folders of one set that differ in the seed of training alone. Out: means over
seeds with 95 % intervals over test rows, which bars they meet, and the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutelage.metrics.intervals import bootstrap, mean_interval, paired_bootstrap, ratio_interval
from tutelage.metrics.quality import agreements, correct, kls, macro_f1_of, nlls
from tutelage.runs import RunFolder
from tutelage.runs.reading import read_json

KEPT_BAR, SETS_BAR = 0.97, 4
Answers = NDArray[np.float64]
MEASURES = ("accuracy", "macro_f1", "agreement", "kl", "nll")


def summary(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """Quality of the teacher, and of each student and control, over the runs of a set.

    Args:
        folders: Runs of one recipe, evaluated, one a seed.

    Returns:
        Each number with its interval: rows are resampled, and a row's value is its mean over seeds.
        `best` is the student nearest to the teacher on the validation rows.
    """
    tables = [pq.read_table(folder.predictions_path) for folder in folders]
    evaluations = [read_json(folder.evaluation_path) for folder in folders]
    labels = list(evaluations[0]["labels"])
    gold = np.array([labels.index(label) for label in tables[0]["label"].to_pylist()])
    teacher = _column(tables[0], "teacher")
    students: dict[str, Any] = {}
    for name in evaluations[0]["students"]:
        soft, hard = (
            [_column(table, f"{side}.{name}") for table in tables]
            for side in ("students", "controls")
        )
        of_seeds = [folder.stage(f"students/{name}").facts for folder in folders]
        speed = [one["students"][name]["latency_ms_p50"]["value"] for one in evaluations]
        students[name] = {
            "student": _quality(soft, teacher, gold, len(labels)),
            "control": _quality(hard, teacher, gold, len(labels)),
            "nll_less_control": _paired(nlls, soft, hard, gold),
            "accuracy_less_control": _paired(correct, soft, hard, gold),
            "validation_kl": float(np.mean([one["best_validation_loss"] for one in of_seeds])),
            "parameters": int(evaluations[0]["students"][name]["parameters"]["value"]),
            "latency_ms": float(np.median(speed)),
        }
    times = [one["teacher"]["latency_ms_p50"]["value"] for one in evaluations]
    return {
        "test_rows": len(gold),
        "classes": len(labels),
        "teacher": _quality([teacher], teacher, gold, len(labels))
        | {"latency_ms": float(np.median(times))},
        "tfidf_accuracy": evaluations[0]["baselines"]["tfidf_logistic_regression"]["accuracy"],
        "students": students,
        "best": min(students, key=lambda name: students[name]["validation_kl"]),
    }


def _column(table: Any, name: str) -> Answers:
    """Probabilities of a model, [N, C]."""
    return np.array(table[name].to_pylist(), np.float64)


def _quality(seeds: Sequence[Answers], teacher: Answers, gold: Any, classes: int) -> dict[str, Any]:
    """Every measure, of means over seeds."""
    right = np.mean([correct(probs, gold) for probs in seeds], axis=0)
    answers = [probs.argmax(1) for probs in seeds]

    def f1(rows: Any) -> float:
        own = [macro_f1_of(one[rows], gold[rows], num_classes=classes) for one in answers]
        return float(np.mean(own))

    found = {
        "accuracy": mean_interval(right),
        "macro_f1": bootstrap(f1, len(gold), samples=500),
        "agreement": mean_interval(np.mean([agreements(teacher, one) for one in seeds], axis=0)),
        "kl": mean_interval(np.mean([kls(teacher, one) for one in seeds], axis=0)),
        "nll": mean_interval(np.mean([nlls(one, gold) for one in seeds], axis=0)),
        "kept": ratio_interval(right, correct(teacher, gold)),
    }
    of_seeds = [float(correct(probs, gold).mean()) for probs in seeds]
    return {name: one.as_dict() for name, one in found.items()} | {"accuracy_of_seeds": of_seeds}


def _paired(measure: Any, a: Sequence[Answers], b: Sequence[Answers], gold: Any) -> dict[str, Any]:
    """The mean of a - b over the same rows and seeds."""
    sides = [np.mean([measure(probs, gold) for probs in side], axis=0) for side in (a, b)]
    return paired_bootstrap(*sides).as_dict()


def bars(sets: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Which bars are met on the sets with all their labels."""
    whole = {name: one for name, one in sets.items() if one["labels"] is None}
    kept = {name: one["students"][one["best"]]["student"]["kept"] for name, one in whole.items()}
    enough = [name for name, one in kept.items() if one["value"] >= KEPT_BAR]
    worse = [
        f"{student} on {name}"
        for name, one in whole.items()
        for student, own in one["students"].items()
        if own["nll_less_control"]["value"] >= 0
    ]
    return {
        f"best student keeps {KEPT_BAR:.0%} on {SETS_BAR} of {len(whole)} sets": {
            "found": ", ".join(enough) or "none",
            "passed": len(enough) >= SETS_BAR,
        },
        "NLL below the control's, every student on every set": {
            "found": "worse: " + ", ".join(worse) if worse else "all",
            "passed": not worse,
        },
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The page."""
    sets = report["sets"]
    whole = {name: one for name, one in sets.items() if one["labels"] is None}
    few = {name: one for name, one in sets.items() if one["labels"] is not None}
    lines = [
        "# Quality on five data sets",
        "",
        "MiniLM-L6 (22.7 M weights) fitted to the labelled training rows teaches each student, "
        "which also learns what the teacher says of the unlabeled rows; its control learns the "
        "labels alone, the same network from the same start. Test rows, means over seeds of "
        "training on one labelling, with 95 % intervals over test rows. `kept` is the share of "
        "the teacher's accuracy. The best student of a set (bold) is the one nearest to the "
        "teacher on validation rows.",
        "",
    ]
    for name, one in whole.items():
        lines += _table(name, one)
    lines += ["## Bars", "", "| bar | found | met |", "|---|---|---|"]
    lines += [
        f"| {bar} | {own['found']} | {'yes' if own['passed'] else 'no'} |"
        for bar, own in bars(sets).items()
    ]
    lines += _few_labels(few, whole) if few else []
    ran_on = next(iter(sets.values()))["machine"]
    versions = ", ".join(f"{a} {b}" for a, b in ran_on["packages"].items())
    about = f"{ran_on['processor']}, {ran_on['threads']} threads; {versions}"
    lines += ["", f"{about}. Again: `python benchmarks/quality.py --data FOLDER --work work`."]
    return "\n".join(lines) + "\n"


def _table(name: str, one: dict[str, Any]) -> list[str]:
    """The table of a set."""
    rows, teacher = one["rows"], one["teacher"]
    more = f", {rows['unlabeled']:,} unlabeled" if rows["unlabeled"] else ""
    lines = [
        f"## {name}",
        "",
        f"{one['classes']} classes; {rows['train']:,} labelled{more}, {rows['validation']:,} "
        f"validation, {rows['test']:,} test; {_seeds(one['seeds'])}. The teacher: {_fit(one)}. "
        f"TF-IDF with logistic regression: {_percent(one['tfidf_accuracy'])}.",
        "",
        "| model | accuracy % | kept % | macro F1 % | agrees % | KL | NLL | NLL less control | ms |",
        "|---|---|---|---|---|---|---|---|---:|",
        f"| teacher | {_percent(teacher['accuracy'])} | | {_percent(teacher['macro_f1'])} | | | "
        f"{_nats(teacher['nll'])} | | {teacher['latency_ms']:.2f} |",
    ]
    for student, own in one["students"].items():
        title = f"**{student}**" if student == one["best"] else student
        for side, shown in (("student", title), ("control", f"{student}, labels only")):
            found = own[side]
            cells = [
                shown,
                _percent(found["accuracy"]),
                _percent(found["kept"]),
                _percent(found["macro_f1"]),
                _percent(found["agreement"]),
                _nats(found["kl"]),
                _nats(found["nll"]),
                _nats(own["nll_less_control"], sign="+") if side == "student" else "",
                f"{own['latency_ms']:.2f}" if side == "student" else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} of training"


def _fit(one: dict[str, Any]) -> str:
    """How the teacher was made, in words."""
    fit = one["fit"]
    if fit["method"] == "head":
        return "a linear head on its last states, cross-fitted and calibrated"
    return (
        f"all weights, {fit['epochs']} passes at {fit['learning_rate']:g}, temperature "
        f"{one['temperature']:.2f} by the validation rows"
    )


def _few_labels(few: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """Accuracy against labels."""
    lines = [
        "",
        "## Few labels",
        "",
        "So many training rows have a label; the others are read by the teacher and learned from "
        "by the students, and the controls have only the labels.",
        "",
        "| set | labels | teacher | student | accuracy % | labels only | difference |",
        "|---|---:|---|---|---|---|---|",
    ]
    sets = dict.fromkeys(one["set"] for one in few.values())
    for name in sets:
        own = [one for one in few.values() if one["set"] == name]
        own += [whole[name]] if name in whole else []
        for one in own:
            for student, found in one["students"].items():
                cells = [
                    name,
                    f"{one['rows']['train']:,}",
                    _percent(one["teacher"]["accuracy"]),
                    f"**{student}**" if student == one["best"] else student,
                    _percent(found["student"]["accuracy"]),
                    _percent(found["control"]["accuracy"]),
                    _percent(found["accuracy_less_control"], sign="+"),
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def _percent(one: dict[str, float], *, sign: str = "") -> str:
    value, low, high = (100 * one[end] for end in ("value", "low", "high"))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def _nats(one: dict[str, float], *, sign: str = "") -> str:
    return f"{one['value']:{sign}.3f} [{one['low']:{sign}.3f}, {one['high']:{sign}.3f}]"
