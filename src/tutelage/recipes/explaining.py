"""Why a student, or the teacher of a run, answers as it does: texts in, and how far each word moved
the score of each class; and whether that is what the answers hang on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import RecipeError, RunIncomplete
from tutelage.recipes.answer_tables import WRITERS
from tutelage.recipes.predicting import (
    examples_of,
    load_student,
    recipe_of,
    require_texts,
    run_of,
    student_folder,
)
from tutelage.runs import RunFolder, place_for, replacing, require_undamaged
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.evaluate.classes.explaining import Method, Subject

ENDINGS = (".jsonl", ".parquet")
"""Of files that explanations are written to: a table of cells has no room for words in texts."""


def explain_texts(
    path: Path,
    texts: Sequence[str],
    *,
    student: str | None = None,
    teacher: bool = False,
    method: Method | None = None,
    progress: Progress = SILENT,
) -> list[dict[str, Any]]:
    """How far each word of some texts moved the score of each class.

    Args:
        path: A student folder or a run folder.
        texts: At least one.
        student: Which student of a run; None: the best.
        teacher: Explain the teacher of the run instead.
        method: `exact`, `gradients` or `occlusion`; None: the first of these that there is.
        progress: Told what somebody should know.

    Returns:
        For each text `{"text", "label", "probabilities"}` and what
        `evaluate.classes.explaining.as_record` says; of a student that is a sum also `ngrams`, a
        list of `{"ngram", "inside_word", "logits"}`, those that part the classes most first, which
        with the baseline sum to the logits.

    Raises:
        DataError: A text is empty or no Unicode text.
        RecipeError: There is no text, no such student or no teacher here.
        ModelError: It cannot be explained in this way.
        MissingExtra: Gradients need captum, which is not installed.
    """
    if not texts:
        raise RecipeError("no text given: give a text to explain")
    require_texts(texts)
    subject, predictor = _subject(path, student=student, teacher=teacher)
    return _explained(subject, predictor, texts, _method(subject, method, progress))


def explain_file(
    path: Path,
    file: Path,
    *,
    out: Path | None = None,
    student: str | None = None,
    teacher: bool = False,
    method: Method | None = None,
    text_field: str | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Explain the answer to every row of a file.

    Args:
        path: A student folder or a run folder.
        file: csv, tsv, jsonl or parquet with a text column.
        out: jsonl or parquet; None means `NAME.explained.jsonl` beside `file`.
        student: As in `explain_texts`.
        teacher: As in `explain_texts`.
        method: As in `explain_texts`.
        text_field: The text column; None means the one that the run's recipe names.
        progress: Where the bar goes.

    Returns:
        `{"rows", "out", "explained", "method"}`. Records written: `row`, and as in `explain_texts`.

    Raises:
        As `explain_texts` and `predict_file`.
    """
    target = out if out is not None else file.with_name(f"{file.stem}.explained.jsonl")
    examples = examples_of(
        path, file, target, out_given=out is not None, endings=ENDINGS, text_field=text_field
    )
    subject, predictor = _subject(path, student=student, teacher=teacher)
    chosen = _method(subject, method, progress)
    rows: list[dict[str, Any]] = []
    with progress.bar("Explaining", total=len(examples), unit="texts") as advance:
        for example in examples:
            (told,) = _explained(subject, predictor, [example.text], chosen)
            rows.append({"row": example.row, **told})
            advance(1)
    with replacing(place_for(target)) as beside:
        WRITERS[target.suffix.lower()](beside, rows)
    return {"rows": len(rows), "out": str(target), "explained": subject.name, "method": chosen}


def measure_faithfulness(
    path: Path,
    rows: int,
    *,
    student: str | None = None,
    teacher: bool = False,
    method: Method | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Whether explanations of a run name the words that its answers hang on, on its test rows.

    Args:
        path: A run folder, or a student's folder in it.
        rows: How many test rows, evenly spaced; all where there are no more.
        student: As in `explain_texts`.
        teacher: As in `explain_texts`.
        method: As in `explain_texts`.
        progress: Where the bar goes.

    Returns:
        `{"explained", "method"}` and what `evaluate.classes.faithfulness.faithfulness` gives.

    Raises:
        As `explain_texts`.
        RunIncomplete: The run has not been evaluated.
    """
    import pyarrow.parquet as pq

    from tutelage.evaluate.classes.explaining import explain
    from tutelage.evaluate.classes.faithfulness import faithfulness

    predictions = RunFolder(run_of(path)).predictions_path
    if not predictions.is_file():
        raise RunIncomplete(
            f"{path} has no {predictions.name} with test rows: give a run folder, and evaluate it "
            f"first with tutelage evaluate {path}"
        )
    require_undamaged(run_of(path), ["evaluation"])
    all_texts = [text for text in pq.read_table(predictions)["text"].to_pylist() if text.strip()]
    texts = all_texts[:: max(1, len(all_texts) // rows)][:rows]
    subject, _ = _subject(path, student=student, teacher=teacher)
    chosen = _method(subject, method, progress)
    found = []
    with progress.bar("Explaining", total=len(texts), unit="texts") as advance:
        for one in explain(subject, texts, method=chosen):
            found.append(one)
            advance(1)
    measured = faithfulness(subject, texts, found)
    return {"explained": subject.name, "method": chosen, **measured}


def _subject(path: Path, *, student: str | None, teacher: bool) -> tuple[Subject, Any]:
    """Who is explained; of a student also the classifier itself."""
    from tutelage.evaluate.classes.explaining import student_subject

    if teacher:
        return _teacher(path), None
    folder = student_folder(path, student)
    _, at_work = load_student(folder)
    predictor = getattr(at_work, "predictor", None)
    if predictor is None:
        raise RecipeError(
            f"{folder.name} goes on with a text and chooses no label, so there is no score to "
            "explain; expected a student of a classification"
        )
    return student_subject(folder.resolve().name, predictor), predictor


def _teacher(path: Path) -> Subject:
    from tutelage.tasks.classification.explaining import load_teacher_subject

    run, recipe = run_of(path), recipe_of(path)
    if recipe is None:
        raise RecipeError(
            f"{path} lies in no run, and --teacher is about the teacher of one: give a run folder"
        )
    if recipe.task.kind != "classification":
        raise RecipeError(
            f"{run} is of task {recipe.task.kind}, whose teacher chooses no label; expected a "
            "classification"
        )
    require_undamaged(run, ["teacher"])
    return load_teacher_subject(recipe, RunFolder(run).teacher_path)


def _method(subject: Subject, wanted: Method | None, progress: Progress) -> Method:
    """How it is explained, with a word where it could be better."""
    from tutelage.evaluate.classes.explaining import method_for

    chosen = method_for(subject, wanted)
    if wanted is None and chosen == "occlusion" and subject.integrated is not None:
        progress.say(
            "captum is not installed, so words are left out one at a time; for gradients: "
            "pip install 'tutelage[explain]'"
        )
    return chosen


def _explained(
    subject: Subject, predictor: Any, texts: Sequence[str], method: Method
) -> list[dict[str, Any]]:
    from tutelage.evaluate.classes.explaining import as_record, ask, explain

    labels = list(subject.labels)
    told = []
    probs = ask(subject, texts)
    for text, row, found in zip(texts, probs, explain(subject, texts, method=method), strict=True):
        record = {
            "text": text,
            "label": labels[int(row.argmax())],
            "probabilities": _by_label(labels, row),
            **as_record(text, found, labels, method),
        }
        if method == "exact":
            record["ngrams"] = [
                {
                    "ngram": part.ngram,
                    "inside_word": part.inside_word,
                    "logits": _by_label(labels, part.logits),
                }
                for part in predictor.contributions(text)
            ]
        told.append(record)
    return told


def _by_label(labels: Sequence[str], values: Any) -> dict[str, float]:
    return {label: float(value) for label, value in zip(labels, values, strict=True)}


BASELINES = {
    "exact": "(whatever the text)",
    "gradients": "(every word blank)",
    "occlusion": "(no word at all)",
}


def explanation_lines(explained: dict[str, Any], *, top: int) -> list[str]:
    """One explained text for a terminal: the answer, then what spoke most for and against it.

    What is shown is how much a word moves the score of the answer against the mean of all classes.
    """
    label, method = explained["label"], explained["method"]

    def push(logits: dict[str, float]) -> float:
        return logits[label] - sum(logits.values()) / len(logits)

    def line(value: float, what: str) -> str:
        return f"  {value:+7.3f}  {what}"

    parts = [(push(one["logits"]), one["word"]) for one in explained["words"]]
    parts.sort(key=lambda one: -abs(one[0]))
    lines = [f"{label} {explained['probabilities'][label]:.3f}\t{explained['text']}"]
    lines += [line(value, shown) for value, shown in parts[:top]]
    if rest := parts[top:]:
        lines.append(line(sum(value for value, _ in rest), f"({len(rest):,} others)"))
    residual = push(explained["residual"])
    if abs(residual) >= 5e-4:
        lines.append(line(residual, "(no single word accounts for it)"))
    lines.append(line(push(explained["baseline"]), BASELINES[method]))
    lines.append(line(push(explained["logits"]), f"= {label} against the mean of all classes"))
    return lines
