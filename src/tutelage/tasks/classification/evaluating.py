"""Quality and cost on the test rows: teacher, students, controls and baselines, on the same rows
and machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.data import Prepared
from tutelage.metrics import (
    bootstrap,
    centred,
    correct,
    majority_class,
    mean_interval,
    nlls,
    resampled_ece,
    share_interval,
)
from tutelage.processes import Crew, crew
from tutelage.report.preference import KEY as PREFERRED
from tutelage.report.preference import choose_student
from tutelage.runs import RunFolder, atomic_write_json
from tutelage.runs.stages import Deferred
from tutelage.targets import TargetStore
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.report.measures import MEASURES
from tutelage.tasks.classification.report.sentences import kept_intervals
from tutelage.teachers.teacher import Cost, Deployable, HasMembers, Teacher
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.students.classifier.answering import Classifier

THROUGHPUT_BATCH = 32


def held_out_quality(recipe: Recipe, data: Prepared, store: TargetStore) -> dict[str, Any]:
    """The teacher's own accuracy and calibration on validation rows, which it was not fitted to.

    Returns:
        accuracy, nll, ece as `{"value", "low", "high"}`, the accuracy of always answering the
        commonest training class, and `sentence`, which says the same in words and warns if the
        teacher is no better than that.
    """
    labelled = [example for example in data.validation if example.label is not None]
    if not labelled:
        return {
            "rows": 0,
            "sentence": "Teacher: no validation row has a label, so its own accuracy is not known.",
        }
    gold = labels_of(labelled)
    probs = np.asarray(store.lookup([example.example_id for example in labelled]), dtype=np.float64)
    drawing = {"samples": recipe.evaluate.bootstrap_samples, "seed": recipe.train.seed}
    is_correct = correct(probs, gold)
    error = resampled_ece(probs.max(axis=1), is_correct)
    spread = centred(bootstrap(error, len(labelled), **drawing))
    quality: dict[str, Any] = {
        "rows": len(labelled),
        "accuracy": share_interval(is_correct, **drawing).as_dict(),
        "nll": mean_interval(nlls(probs, gold), **drawing).as_dict(),
        "ece": spread.as_dict() | {"low": max(0.0, spread.low)},
    }
    known = labels_of(data.train)[labels_of(data.train) >= 0]
    # Without a label in train, the commonest class of these rows stands in: a bar that is a little
    # too high.
    quality["majority_accuracy"] = float(
        np.mean(gold == majority_class(known if len(known) else gold))
    )
    found = quality["accuracy"]
    sentence = (
        f"Teacher on {len(labelled):,} held-out rows: accuracy {found['value']:.3f} "
        f"[{found['low']:.3f}, {found['high']:.3f}], ECE {quality['ece']['value']:.3f}; "
        f"the commonest class alone: {quality['majority_accuracy']:.3f}"
    )
    if found["low"] <= quality["majority_accuracy"]:
        verdict = "worse" if found["high"] < quality["majority_accuracy"] else "not clearly better"
        sentence += (
            f"\nwarning: this teacher is {verdict} than always answering the commonest class; "
            "students can "
            "only learn what it knows. Give it labels (kind: classifier), shots, or take a larger "
            "model"
        )
    quality["sentence"] = sentence
    return quality


def evaluate_run(
    recipe: Recipe,
    folder: RunFolder,
    data: Prepared,
    store: TargetStore,
    teacher: Deferred[Teacher],
    *,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Measure everybody on the test rows; write evaluation.json and predictions.parquet.

    Returns:
        Facts for the stage: rows evaluated. The processes of a launch share students and controls,
        each of which one process asks about all rows; only the leader has facts.
    """
    from tutelage.evaluate.classes.comparison import compare
    from tutelage.evaluate.classes.explaining import Subject
    from tutelage.evaluate.classes.predictions import write_predictions
    from tutelage.evaluate.cost import measure_latency
    from tutelage.students import load_classifier
    from tutelage.tasks.classification.explaining import what_answers_hang_on

    texts = [example.text for example in data.test]
    places = {"students": folder.students_path}
    places |= {"controls": folder.controls_path} if recipe.evaluate.control else {}
    answers = answers_of(
        {(group, name): at / name for group, at in places.items() for name in recipe.students},
        texts,
        mine=crew(),
    )
    if not crew().leads:  # what follows is timed or written by one alone
        return {}
    teacher_probs = store.lookup([example.example_id for example in data.test])
    students = {name: load_classifier(folder.students_path / name) for name in recipe.students}
    simple = (
        baseline_probs(data, texts, num_classes=len(recipe.task.labels))
        if recipe.evaluate.baselines
        else {}
    )
    evaluation = compare(
        labels_of(data.test),
        recipe.task.labels,
        teacher=teacher_probs,
        students=answers["students"],
        controls=answers["controls"],
        baselines=simple,
        bootstrap_samples=recipe.evaluate.bootstrap_samples,
        seed=recipe.train.seed,
    )
    timed = texts[:: max(1, len(texts) // recipe.evaluate.latency_examples)][
        : recipe.evaluate.latency_examples
    ]
    asked = teacher.get()
    teacher_answers = _answers_of(asked)
    costs: dict[str, dict[str, Any]] = measure_latency(
        teacher_answers | {name: student.probs for name, student in students.items()},
        timed,
        batch_size=THROUGHPUT_BATCH,
        progress=progress,
    )
    for name in ("teacher", *students):
        size = (
            _size(students[name], folder.students_path / name)
            if name in students
            else _teacher_size(asked) | latency_of_replies(folder.stage("targets").facts)
        )
        cost = size | costs.get(name, {})
        # A control is the same network as its student and costs the same.
        same = (
            [evaluation["teacher"]]
            if name == "teacher"
            else [evaluation[group].get(name, {}) for group in answers]
        )
        for metrics in same:
            metrics.update(cost)
    evaluation["devices"] = {
        **({"teacher": device_name(asked.device)} if isinstance(asked, Cost) else {}),
        "students": "cpu",  # where `load_classifier` puts all of them
    }
    if recipe.evaluate.prefer is not None:
        evaluation[PREFERRED] = preferred_student(evaluation, keep=recipe.evaluate.prefer.keep)
    told = what_answers_hang_on(
        texts,
        students,
        evaluation,
        answers=answers["students"],
        teacher_probs=teacher_probs,
        teacher=next(
            (Subject(name, recipe.task.labels, probs) for name, probs in teacher_answers.items()),
            None,
        ),
    )
    if told:
        evaluation["explanations"] = told
    if isinstance(asked, HasMembers):
        from tutelage.evaluate.classes.members import KEY, compare_members

        evaluation[KEY] = compare_members(
            asked.members_probs([example.example_id for example in data.test]),
            teacher_probs,
            labels_of(data.test),
            labels=recipe.task.labels,
            weights=asked.weights,
            descriptions=asked.descriptions,
            combine=asked.combine,
            bootstrap_samples=recipe.evaluate.bootstrap_samples,
            seed=recipe.train.seed,
        )
    write_predictions(
        folder.predictions_path,
        data.test,
        labels=recipe.task.labels,
        teacher=teacher_probs,
        students=answers["students"],
        controls=answers["controls"],
    )
    atomic_write_json(folder.evaluation_path, evaluation)
    return {"rows": len(texts)}


def answers_of(
    models: Mapping[tuple[str, str], Path], texts: Sequence[str], *, mine: Crew
) -> dict[str, dict[str, np.ndarray]]:
    """What each model says of all texts, by group and name, in every process of a launch.

    Args:
        models: Folders, by group and name.
        texts: The test rows.
        mine: This process and those that share the models.

    Returns:
        Probabilities [N, C] of `students` and `controls`.
    """
    from tutelage.students import load_classifier

    own = {one: load_classifier(models[one]).probs(texts) for one in mine.share(list(models))}
    said = {one: probs for part in mine.gathered(own) for one, probs in part.items()}
    found: dict[str, dict[str, np.ndarray]] = {"students": {}, "controls": {}}
    for group, name in models:
        found[group][name] = said[group, name]
    return found


def preferred_student(evaluation: Mapping[str, Any], *, keep: float) -> dict[str, Any]:
    """The cheapest student that keeps this share of the teacher, by the time of one answer."""
    measure, kept = kept_intervals(evaluation)
    cost = MEASURES["latency_ms_p50"]
    return choose_student(evaluation, keep=keep, measure=measure, kept=kept, cost=cost)


def baseline_probs(
    data: Prepared, texts: Sequence[str], *, num_classes: int
) -> dict[str, np.ndarray]:
    """What simpler methods answer with the labelled rows: TF-IDF with logistic regression, and the
    commonest class.
    """
    from tutelage.evaluate.classes.predictions import majority, tfidf_logistic_regression

    labelled = [example for example in data.train if example.label is not None]
    known = labels_of(labelled)
    if len(set(known.tolist())) < 2:
        return {}
    return {
        "tfidf_logistic_regression": tfidf_logistic_regression(
            [example.text for example in labelled], known, texts, num_classes
        ),
        "majority": majority(known, len(texts), num_classes=num_classes),
    }


def device_name(device: Any) -> str:
    """What a model was measured on: `cpu`, or an accelerator with its name."""
    import torch

    return (
        f"{device.type} ({torch.cuda.get_device_name(device)})"
        if device.type == "cuda"
        else str(device.type)
    )


def labels_of(examples: Sequence[Example]) -> np.ndarray:
    """Label indexes, int64 [N]; -1 where nobody labelled the row."""
    return np.array(
        [-1 if example.label is None else example.label for example in examples], dtype=np.int64
    )


def _answers_of(teacher: Teacher) -> dict[str, Callable[[Sequence[str]], np.ndarray]]:
    """The teacher as it would be deployed, by name, to be timed; none where it knows the texts of
    this run only.
    """
    if not isinstance(teacher, Deployable):
        return {}
    deployed = teacher.for_new_texts()
    return {"teacher": lambda texts: deployed.label([Example(text=text) for text in texts])}


def latency_of_replies(facts: Mapping[str, Any]) -> dict[str, Any]:
    """How long a teacher behind an API took to reply while it labelled; nothing is asked for it.

    Args:
        facts: Of the stage that wrote the targets.
    """
    told = (facts.get("answers") or {}).get("latency_ms") or {}
    return {
        f"latency_ms_{name}": {
            "value": told[name],
            "low": told[f"{name}_low"],
            "high": told[f"{name}_high"],
        }
        for name in ("p50", "p95")
        if name in told
    }


def _teacher_size(teacher: Teacher) -> dict[str, Any]:
    """Weights and bytes, where it answers with weights that are here."""
    from tutelage.evaluate.cost import exact

    if not isinstance(teacher, Cost):
        return {}
    return {"parameters": exact(teacher.parameters), "disk_bytes": exact(teacher.disk_bytes)}


def _size(student: Classifier, folder: Path) -> dict[str, Any]:
    from tutelage.evaluate.cost import exact, folder_bytes

    return {"parameters": exact(student.parameters), "disk_bytes": exact(folder_bytes(folder))}
