"""The next student from recorded traffic: trained, certified, held against the one in service.

In: a run whose student serves, and the traffic that its server kept (`serve --record`). Out: a new
run that learned from the old answers and the traffic's; a certificate on traffic that nobody
learned from; and which of the two students may answer more of it alone under the same promise.

Only what was kept by chance (`drawn`: shadow, record, audit) tells what requests are like. A share
of it, chosen by content, certifies; the rest, and what was forwarded because the old student was
unsure, trains. A text counts once, however often it was asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import DataError, RecipeError
from tutelage.recipes.certifying import certify_run
from tutelage.recipes.exporting import export_student
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.predicting import recipe_of, run_of, student_folder
from tutelage.recipes.run import run
from tutelage.recipes.traffic import Answered, read_traffic
from tutelage.runs import RunFolder, atomic_write_bytes, atomic_write_text, require_undamaged
from tutelage.types import SILENT, Example, Progress

FOLDER = "retraining"
"""Beside the runs: what a new run was made from."""
HELD_OUT = 0.5
_FROM_THE_TEACHER = ("pruned", "static")
"""Kinds of students that need the teacher's weights."""


def retrain(
    path: Path,
    traffic: Path,
    *,
    disagreement: float,
    confidence: float = 0.95,
    held_out: float = HELD_OUT,
    form: str = "onnx",
    service: Path | None = None,
    promote: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Train the next student, certify it, and say whether it is better.

    Args:
        path: The run whose student serves.
        traffic: The folder that `serve --record` filled.
        disagreement: The largest share of disagreements to certify, over all requests.
        confidence: With what probability it is kept.
        held_out: Share of the drawn texts that certify and train nothing.
        form: The format to export, `onnx` or `onnx_int8`.
        service: A folder of versions; its current one is the student to beat. None: the run's own.
        promote: Whether to put a better student in service there.
        progress: Told what goes on.

    Returns:
        `run`, `texts` by use, `candidate` and `current` (what is certified of either, on the same
        rows), `better`, and `promoted`, the version, or None.

    Raises:
        DataError: There is no traffic about these labels, or too little to certify.
        RecipeError: The run is no classification, or `promote` has no service.
        ReleaseError: It cannot be put in service.
    """
    from tutelage.evaluate.certificates import require_rows
    from tutelage.tasks.classification.data import prepare_data

    old, recipe = run_of(path), recipe_of(path)
    if recipe is None or recipe.task.kind != "classification":
        raise RecipeError(f"{path} is no run of a classification: give the folder of one")
    if promote and service is None:
        raise RecipeError("--promote needs --service FOLDER, where versions are kept")
    labels = tuple(recipe.task.labels)
    data = prepare_data(recipe)
    rows = [*data.train, *data.unlabeled, *data.validation, *data.test]
    known = {one.example_id for one in rows}
    instructions = getattr(recipe.teacher, "instruction", None)
    found = read_traffic(traffic, labels, instructions=instructions)
    progress.say(
        f"{found.lines:,} exchanges in {traffic}: {len(found.drawn.texts):,} texts kept by chance, "
        f"{len(found.forwarded.texts):,} others, {found.unread:,} lines about something else"
    )
    drawn = found.drawn.where([Example(one).example_id not in known for one in found.drawn.texts])
    certifies = [_certifies(one, held_out) for one in drawn.texts]
    calibration = drawn.where(certifies)
    apart = known | {Example(one).example_id for one in calibration.texts}
    learned = drawn.where([not one for one in certifies])
    # A text that would certify in a later round, had it been drawn, trains in none.
    others = found.forwarded.where(
        [
            Example(one).example_id not in apart and not _certifies(one, held_out)
            for one in found.forwarded.texts
        ]
    )
    new = Answered([*learned.texts, *others.texts], np.concatenate([learned.probs, others.probs]))
    if not new.texts or not calibration.texts:
        raise DataError(
            f"{traffic} has {len(new.texts):,} new texts to learn from and "
            f"{len(calibration.texts):,} to certify with: record more, in shadow or record mode, "
            "or give another --hold-out"
        )

    progress.say(
        f"Not known to the run: {len(new.texts):,} texts to learn from, {len(calibration.texts):,} "
        "to certify with"
    )
    require_rows(len(calibration.texts), share=disagreement, confidence=confidence)
    answers = _old_answers(old, recipe, rows)
    place = old.parent / FOLDER / recipe.name / _print([answers, new, calibration])
    _write_answers(place / "answers.parquet", labels, [answers, new])
    _write_texts(place / "texts.jsonl", recipe, new.texts)
    _write_texts(
        place / "held_out.jsonl",
        recipe,
        calibration.texts,
        [labels[column] for column in calibration.probs.argmax(axis=1)],
    )
    derived = place / "recipe.yaml"
    atomic_write_text(derived, _derived(recipe, old, place, name=f"{recipe.name}-{place.name}"))
    outcome = run(load_recipe(derived), root=old.parent, progress=progress)
    made = outcome.folder.path
    promise = {"disagreement": disagreement, "confidence": confidence, "progress": progress}
    export = Path(export_student(made, form, instructions=instructions, progress=progress)["out"])
    candidate = certify_run(
        made, rows=place / "held_out.jsonl", export=export, out=export, **promise
    )
    current = _current(old, form, service, place, promise)
    better = candidate["file"] is not None and candidate["coverage"] > current["coverage"]
    promoted = None
    if promote and better:
        from tutelage_runtime.releases import promote as put_in_service

        assert service is not None, "checked above"
        promoted = put_in_service(export, service).version
    told = ("name", "student", "coverage", "disagreed", "bound", "rows", "file")
    return {
        "run": str(made),
        "export": str(export),
        "texts": {
            "learned": len(new.texts),
            "certified_with": len(calibration.texts),
            "before": len(answers.texts),
        },
        "candidate": {key: candidate.get(key) for key in told},
        "current": {key: current.get(key) for key in told},
        "better": better,
        "promoted": promoted,
    }


def _certifies(text: str, share: float) -> bool:
    """Whether a text is held out; by its content, so that it is so in every round."""
    return int.from_bytes(Example(text).example_id[:8], "big") / 2**64 < share


def _old_answers(run: Path, recipe: Any, rows: Sequence[Example]) -> Answered:
    """The old teacher's answers to the old texts."""
    from tutelage.targets import TargetStore

    require_undamaged(run, ["targets"])
    labels = list(recipe.task.labels)
    store = TargetStore.open(RunFolder(run).targets_path, labels=labels)
    there = set(store.ids)
    texts = {one.example_id: one.text for one in rows if one.example_id in there}
    probs = np.asarray(store.lookup(list(texts)), np.float32).reshape(len(texts), len(labels))
    return Answered(list(texts.values()), probs)


def _write_answers(path: Path, labels: Sequence[str], parts: Sequence[Answered]) -> None:
    from io import BytesIO

    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [text for part in parts for text in part.texts]
    probs = np.concatenate([part.probs for part in parts])
    columns = {f"p_{label}": probs[:, place] for place, label in enumerate(labels)}
    content = BytesIO()
    pq.write_table(pa.table({"text": texts, **columns}), content)
    atomic_write_bytes(path, content.getvalue())


def _write_texts(
    path: Path, recipe: Any, texts: Sequence[str], labels: Sequence[str] | None = None
) -> None:
    fields = recipe.data
    rows = [{fields.text_field: text} for text in texts]
    if labels is not None:
        for row, label in zip(rows, labels, strict=True):
            row[fields.label_field] = label
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    atomic_write_text(path, lines)


def _derived(recipe: Any, old: Path, place: Path, *, name: str) -> str:
    """The recipe with the recorded answers as its teacher and the new texts among its data."""
    values = json.loads(recipe.model_dump_json())
    values["name"] = name
    values["teacher"] = {"kind": "recorded", "file": str(place / "answers.parquet")}
    values["data"]["augment"] = None
    values["data"]["unlabeled"] = [
        *(values["data"].get("unlabeled") or []),
        str(place / "texts.jsonl"),
    ]
    values.pop("label", None)
    values["export"] = ["transformers"]
    for student, spec in values["students"].items():
        needs_teacher = spec["kind"] in _FROM_THE_TEACHER or str(
            spec.get("embeddings", "")
        ).startswith("teacher")
        if needs_teacher:
            values["students"][student] = {
                "kind": "pretrained",
                "model": str(RunFolder(old).students_path / student),
            }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _current(
    old: Path, form: str, service: Path | None, place: Path, promise: dict[str, Any]
) -> dict[str, Any]:
    """What is certified of the student in service on the same rows; a coverage of 0 where nothing
    is.
    """
    from tutelage_runtime.bundle import STUDENT, read_bundle
    from tutelage_runtime.releases import is_released, resolved

    if service is not None and is_released(service):
        export = resolved(service)
        version = read_bundle(export).version
        own = [
            read_bundle(place.parent, verify=False).version
            for place in RunFolder(old).students_path.glob(f"*/export/*/{STUDENT}")
        ]
        if version not in own:
            raise RecipeError(
                f"{version}, which is in service in {service}, is no export of {old}: give the run "
                "that it came from, for only its own rows are known not to be new to it"
            )
    else:
        export = student_folder(old, None) / "export" / form
    if not (export / STUDENT).is_file():
        return {"coverage": 0.0, "file": None}
    rows = place / "held_out.jsonl"
    found = certify_run(old, rows=rows, export=export, out=place / "current", **promise)
    return found if found["file"] is not None else found | {"coverage": 0.0}


def _print(parts: Sequence[Answered]) -> str:
    """Eight hex digits of texts and answers, so that the same traffic leads to the same run."""
    digest = hashlib.blake2b(digest_size=4)
    for part in parts:
        order = sorted(range(len(part.texts)), key=part.texts.__getitem__)
        digest.update(json.dumps([part.texts[place] for place in order]).encode())
        digest.update(np.ascontiguousarray(part.probs[order]).tobytes())
    return digest.hexdigest()
