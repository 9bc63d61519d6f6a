"""How many teacher calls reach the quality of labelling everything, by what texts are chosen.

    python benchmarks/choosing.py runs/trec6 runs/banking77 --seeds 3

In: finished runs whose targets hold every text that may be labelled, so that a teacher call is a
look into the store. Rounds grow by half; after each, the quick student is fitted to what is
labelled, says which texts come next, and is judged on the gold labels of the run's validation rows,
which it never saw. Then, in ten equal rounds, where `stop_early` stops and what that loses. Out:
results/choosing.json and choosing.md.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from machine import RESULTS, keep, machine
from tutelage.metrics import agreements
from tutelage.recipes.loading import load_recipe
from tutelage.targets import TargetStore
from tutelage.tasks.classification.data import prepare_data
from tutelage.tasks.classification.recipe import Recipe
from tutelage.teachers.choosing import Choice, choose_rows
from tutelage.teachers.quick_student import QuickStudent
from tutelage.teachers.rounds import SMALL_GAIN, left_at_most

FIRST, GROWTH = 100, 1.5
KEPT = 0.98
"""The share of the accuracy of labelling everything that is to be reached."""
STOPPING_ROUNDS = 10


@dataclass(frozen=True)
class Run:
    """What is measured on."""

    name: str
    student: QuickStudent
    vectors: np.ndarray
    targets: np.ndarray
    """Of the texts that may be labelled."""
    taught: np.ndarray
    """Of the rows that judge."""
    gold: np.ndarray
    """Of the same."""

    def after(self, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the quick student says of both, fitted to some of the texts."""
        probs, said = self.student.fit(np.flatnonzero(labelled), self.targets[labelled])
        assert said is not None
        return probs, said


def read(run: Path) -> Run:
    """The texts of a run that may be labelled, their soft targets, and the rows that judge."""
    recipe = load_recipe(run / "recipe.yaml")
    assert isinstance(recipe, Recipe), "a recipe of a classification"
    data = prepare_data(recipe)
    train = list({one.example_id: one for one in (*data.train, *data.unlabeled)}.values())
    judged = [one for one in data.validation if one.label is not None]
    store = TargetStore.open(run / "targets")
    student = QuickStudent([one.text for one in train], [one.text for one in judged])
    return Run(
        recipe.name,
        student,
        student.vectors(),
        store.lookup([one.example_id for one in train]),
        store.lookup([one.example_id for one in judged]),
        np.array([one.label for one in judged]),
    )


def curve(run: Run, choose: Choice, seed: int) -> dict[int, float]:
    """Accuracy after each round, by the number of texts labelled."""
    labelled = np.zeros(len(run.targets), dtype=bool)
    probs, found, wanted = None, {}, float(FIRST)
    while not labelled.all():
        count = max(1, round(wanted) - int(labelled.sum()))
        chosen = choose_rows(run.vectors, probs, labelled, count=count, choose=choose, seed=seed)
        labelled[chosen] = True
        probs, said = run.after(labelled)
        found[int(labelled.sum())] = float((said.argmax(axis=1) == run.gold).mean())
        wanted *= GROWTH
    return found


def stopped(run: Run, choose: Choice, seed: int) -> dict[str, float]:
    """Where `stop_early` would have stopped, and what that lost."""
    everything = len(run.targets)
    labelled = np.zeros(everything, dtype=bool)
    probs, before, at = None, None, None
    found: dict[str, float] = {}
    for number in range(1, STOPPING_ROUNDS + 1):
        had = int(labelled.sum())
        count = everything * number // STOPPING_ROUNDS - had
        chosen = choose_rows(run.vectors, probs, labelled, count=count, choose=choose, seed=seed)
        labelled[chosen] = True
        probs, said = run.after(labelled)
        errors = ((run.taught - said) ** 2).sum(axis=1)
        found["distance_all"], size = float(errors.mean()), had + count
        found["agreement_all"] = float(agreements(run.taught, said).mean())
        most = (
            None
            if before is None
            else left_at_most(before, errors, sizes=(had, size), limit=everything)
        )
        if at is None and (size == everything or (most is not None and most < SMALL_GAIN)):
            at = size
            found |= {
                "calls": at,
                "distance": found["distance_all"],
                "agreement": found["agreement_all"],
            }
        before = errors
    return found


def calls_to_reach(found: dict[int, float], bar: float) -> float:
    """Texts labelled when a bar is first reached, between rounds on a straight line."""
    sizes = list(found)
    for before, after in zip([None, *sizes], sizes, strict=False):
        if found[after] >= bar:
            if before is None:
                return float(after)
            share = (bar - found[before]) / (found[after] - found[before])
            return before + share * (after - before)
    return float(sizes[-1])


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    lines = ["# Which texts to label", ""]
    lines += [
        f"Teacher calls until a quick student has {KEPT:.0%} of the accuracy that it has when every "
        "text is labelled (validation rows, gold labels), mean of the seeds with the least and the "
        "most; then its accuracy after some rounds.",
        "",
    ]
    for name, of_set in results["sets"].items():
        sizes = [int(size) for size in of_set["curves"]["random"][0]][:-1:2]
        lines += [
            f"## {name}: {of_set['texts']:,} texts, accuracy {of_set['everything']:.3f} with all",
            "",
            f"| choose | calls | {' | '.join(f'{size:,}' for size in sizes)} |",
            f"|---|---|{'---|' * len(sizes)}",
        ]
        for choose, curves in of_set["curves"].items():
            calls = of_set["calls"][choose]
            shown = f"{np.mean(calls):,.0f} ({min(calls):,.0f} to {max(calls):,.0f})"
            means = [np.mean([one[str(size)] for one in curves]) for size in sizes]
            lines.append(f"| {choose} | {shown} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
        lines += ["", "| stop_early | calls | agreement | with all | distance | with all |"]
        lines.append("|---|---|---|---|---|---|")
        for choose, ends in of_set["stopped"].items():
            shown = ", ".join(f"{one['calls']:,}" for one in ends)
            means = [
                np.mean([one[key] for one in ends])
                for key in ("agreement", "agreement_all", "distance", "distance_all")
            ]
            lines.append(f"| {choose} | {shown} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
        lines.append("")
    told = results["machine"]
    lines += [f"Machine: {json.dumps(told)}. Seeds: {results['seeds']}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure every run, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results: dict[str, Any] = {
        "benchmark": "choosing",
        "seeds": options.seeds,
        "machine": machine("numpy", "scikit-learn"),
        "sets": {},
    }
    for run in options.runs:
        one = read(run)
        _, said = one.after(np.ones(len(one.targets), dtype=bool))
        everything = float((said.argmax(axis=1) == one.gold).mean())
        curves: dict[str, list[dict[str, float]]] = {}
        calls: dict[str, list[float]] = {}
        for choose in get_args(Choice):
            started = time.monotonic()
            found = [curve(one, choose, seed) for seed in range(options.seeds)]
            calls[choose] = [calls_to_reach(each, KEPT * everything) for each in found]
            curves[choose] = [{str(size): value for size, value in each.items()} for each in found]
            seconds = time.monotonic() - started
            print(one.name, choose, [round(each) for each in calls[choose]], f"{seconds:.0f} s")
        results["sets"][one.name] = {
            "texts": len(one.targets),
            "everything": everything,
            "calls": calls,
            "curves": curves,
            "stopped": {
                choose: [stopped(one, choose, seed) for seed in range(options.seeds)]
                for choose in ("random", "mixed")
            },
        }
    keep(results, page, out=options.out)


if __name__ == "__main__":
    main()
