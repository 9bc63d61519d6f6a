"""How many teacher calls reach the quality of labelling everything, by what texts are chosen.

    python benchmarks/choosing.py runs/trec6 runs/banking77 --seeds 3

In: finished runs whose targets hold every text that may be labelled, so that a teacher call is a look into the
store. Rounds grow by half; after each, a quick student (ridge regression of the soft targets on
TF-IDF) is fitted to what is labelled, chooses the next texts, and is judged on the gold labels of
the run's validation rows, which it never saw. Out: results/choosing.json and choosing.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from machine import RESULTS, keep, machine
from tutelage.recipes.loading import load_recipe
from tutelage.targets import TargetStore
from tutelage.tasks.classification.data import prepare_data
from tutelage.teachers.choosing import Choice, choose_rows

FIRST, GROWTH = 100, 1.5
KEPT = 0.98
"""The share of the accuracy of labelling everything that is to be reached."""


def read(run: Path) -> tuple[str, Any, Any, Any, Any, Any]:
    """A run's name, its training features (sparse and reduced), its soft targets, and what judges:
    features and gold labels of validation rows.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    recipe = load_recipe(run / "recipe.yaml")
    data = prepare_data(recipe)
    train = list(
        {example.example_id: example for example in (*data.train, *data.unlabeled)}.values()
    )
    judged = [example for example in data.validation if example.label is not None]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    matrix = vectorizer.fit_transform([example.text for example in train])
    reduced = normalize(TruncatedSVD(50, random_state=0).fit_transform(matrix))
    store = TargetStore.open(run / "targets")
    targets = store.lookup([example.example_id for example in train])
    test = vectorizer.transform([example.text for example in judged])
    return recipe.name, matrix, reduced, targets, test, np.array([one.label for one in judged])


def student(matrix: Any, targets: Any) -> Any:
    """What answers with rough probabilities for features."""
    from sklearn.linear_model import Ridge

    fitted = Ridge(alpha=0.3, solver="lsqr", tol=1e-3).fit(matrix, targets)

    def answer(features: Any) -> np.ndarray:
        probs = np.clip(fitted.predict(features), 1e-6, None)
        return probs / probs.sum(axis=1, keepdims=True)

    return answer


def curve(read_run: Any, choose: Choice, seed: int) -> dict[int, float]:
    """Accuracy after each round, by the number of texts labelled."""
    _, matrix, reduced, targets, test, gold = read_run
    labelled = np.zeros(len(targets), dtype=bool)
    probs, found, wanted = None, {}, float(FIRST)
    while not labelled.all():
        count = max(1, round(wanted) - int(labelled.sum()))
        labelled[choose_rows(reduced, probs, labelled, count=count, choose=choose, seed=seed)] = (
            True
        )
        answer = student(matrix[labelled], targets[labelled])
        found[int(labelled.sum())] = float((answer(test).argmax(axis=1) == gold).mean())
        probs = answer(matrix)
        wanted *= GROWTH
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
        _, matrix, _, targets, test, gold = one
        everything = float((student(matrix, targets)(test).argmax(axis=1) == gold).mean())
        curves: dict[str, list[dict[str, float]]] = {}
        calls: dict[str, list[float]] = {}
        for choose in get_args(Choice):
            started = time.monotonic()
            found = [curve(one, choose, seed) for seed in range(options.seeds)]
            calls[choose] = [calls_to_reach(each, KEPT * everything) for each in found]
            curves[choose] = [{str(size): value for size, value in each.items()} for each in found]
            seconds = time.monotonic() - started
            print(one[0], choose, [round(each) for each in calls[choose]], f"{seconds:.0f} s")
        results["sets"][one[0]] = {
            "texts": len(targets),
            "everything": everything,
            "calls": calls,
            "curves": curves,
        }
    keep(results, page, out=options.out)


if __name__ == "__main__":
    main()
