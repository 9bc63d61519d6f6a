"""When other texts come: what the gate sees, what gets through, when the audit ends it.

A student of each of five sets is certified on half of its test rows (2 % of all requests, 95 %).
Requests are drawn from the other half, mixed with texts of the four other sets, about which the
teacher was asked too. Without a shift: how often is a student called broken that keeps its contract,
over 100,000 requests.

    python benchmarks/shift.py --runs FOLDER

FOLDER holds one run folder for each set, named as the set, with an export of the student `pruned`
(`tutelage export RUN --student pruned --format onnx`). Writes `benchmarks/results/shift.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from machine import RESULTS, keep, machine
from tutelage.recipes.certifying import certify_run
from tutelage.recipes.predicting import recipe_of
from tutelage.tasks.classification.data import prepare_data
from tutelage.teachers import ClassifierTeacher
from tutelage_runtime.audit import Audit
from tutelage_runtime.certificate import read_certificate
from tutelage_runtime.session import load

SETS = ("banking77", "snips", "trec6", "sst5", "vader_movie")
SHARE, AUDITED = 0.02, 0.02
MIXED = (0.0, 0.05, 0.2, 0.5)
FOREIGN, ROUNDS, REQUESTS = 150, 200, 100_000


def answers_of(run: Path, texts: list[str]) -> np.ndarray:
    """The teacher's class for each text."""
    from tutelage.types import Example

    teacher = ClassifierTeacher.load(run / "teacher")
    return np.asarray(teacher.label([Example(text) for text in texts])).argmax(axis=1)


def outcomes(certificate: Any, student: Any, texts: list[str], truth: np.ndarray) -> dict[str, Any]:
    """Of each text: whether it is new, answered, and answered otherwise than the teacher would."""
    found = student.answer(texts)
    new = certificate.novelty.novel(found.features)
    sure = certificate.sure(found.probs, found.features)
    ungated = certificate.score.of(found.probs) > certificate._limits()[found.probs.argmax(axis=1)]
    wrong = found.probs.argmax(axis=1) != truth
    return {"new": new, "answered": sure, "through": sure & wrong, "ungated": ungated & wrong}


def audits(rate: float, rounds: int, chance: np.random.Generator) -> list[int | None]:
    """Audited requests until the contract is called broken; None: not within the requests."""
    most = int(REQUESTS * AUDITED)
    found: list[int | None] = []
    for _ in range(rounds):
        audit, ended = Audit(contract=SHARE, alpha=0.01), None
        for place, disagreed in enumerate((chance.random(most) < rate).tolist(), 1):
            audit.observe(disagreed)
            if audit.broken:
                ended = place
                break
        found.append(ended)
    return found


def of_set(name: str, runs: Path, texts: dict[str, list[str]]) -> dict[str, Any]:
    run = runs / name
    recipe = recipe_of(run)
    labels = list(recipe.task.labels)
    own = texts[name]
    truth = answers_of(run, own)
    order = np.random.default_rng(0).permutation(len(own))
    half = order[: len(own) // 2]
    rest = order[len(own) // 2 :]
    chance = np.random.default_rng(1)
    foreign = [
        text
        for other in SETS
        if other != name
        for text in chance.permutation(np.array(texts[other], dtype=object))[:FOREIGN].tolist()
    ]
    export = run / "students" / "pruned" / "export" / "onnx"
    with tempfile.TemporaryDirectory() as work:
        rows = Path(work) / "rows.jsonl"
        fields = recipe.data.text_field, recipe.data.label_field
        lines = [
            json.dumps({fields[0]: own[place], fields[1]: labels[truth[place]]}) for place in half
        ]
        rows.write_text("\n".join(lines) + "\n", "utf-8")
        made = certify_run(run, disagreement=SHARE, export=export, rows=rows, out=Path(work) / "c")
        if made["file"] is None:
            return {"coverage": 0.0}
        certificate = read_certificate(Path(work) / "c")
    student = load(export)
    usual = outcomes(certificate, student, [own[place] for place in rest], truth[rest])
    strange = outcomes(certificate, student, foreign, answers_of(run, foreign))
    mixed = {}
    for share in MIXED:
        rate, ungated, answered = (
            float((1 - share) * usual[key].mean() + share * strange[key].mean())
            for key in ("through", "ungated", "answered")
        )
        found = audits(rate, ROUNDS, chance)
        ended = [one for one in found if one is not None]
        mixed[str(share)] = {
            "answered": answered,
            "disagreement": rate,
            "disagreement_without_gate": ungated,
            "broken": len(ended),
            "audited_until": float(np.median(ended)) if len(ended) > ROUNDS / 2 else None,
        }
    return {
        "coverage": made["coverage"],
        "new_of_own": float(usual["new"].mean()),
        "new_of_others": float(strange["new"].mean()),
        "mixed": mixed,
    }


def page(report: dict[str, Any]) -> str:
    lines = [
        "# Other texts among the requests",
        "",
        f"Contract: {SHARE:.0%} of all requests; audited: {AUDITED:.0%}. A cell has the share of "
        "requests that is answered here otherwise than the teacher would, with the gate (without "
        f"it), and in how many of {ROUNDS} rounds of {REQUESTS:,} requests the audit ended it, "
        "after how many *audited* requests (median).",
        "",
        "| set | certified | called new: own, others' | no others | 5 % | 20 % | 50 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in report["sets"].items():
        if not one["coverage"]:
            lines.append(f"| {name} | nothing | | | | | |")
            continue
        cells = []
        for found in one["mixed"].values():
            until = found["audited_until"]
            after = "" if until is None else f", after {until:.0f}"
            cells.append(
                f"{found['disagreement']:.2%} ({found['disagreement_without_gate']:.2%}); "
                f"{found['broken']} of {ROUNDS}{after}"
            )
        lines.append(
            f"| {name} | {one['coverage']:.1%} | {one['new_of_own']:.1%}, "
            f"{one['new_of_others']:.1%} | {' | '.join(cells)} |"
        )
    lines += [
        "",
        f"A student that disagrees on exactly {SHARE:.0%}, the worst that keeps the contract, was "
        f"called broken in {report['false_alarms']} of {report['rounds']} rounds of {REQUESTS:,} "
        "requests; stated: 1 % at most.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    texts = {
        name: [one.text for one in prepare_data(recipe_of(options.runs / name)).test]
        for name in SETS
    }
    found = audits(SHARE, 5 * ROUNDS, np.random.default_rng(2))
    report = {
        "benchmark": "shift",
        "machine": machine("onnxruntime"),
        "sets": {name: of_set(name, options.runs, texts) for name in SETS},
        "false_alarms": sum(one is not None for one in found),
        "rounds": len(found),
    }
    keep(report, page, out=options.out)


if __name__ == "__main__":
    main()
