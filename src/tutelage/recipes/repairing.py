"""A damaged run made whole: what `verify` finds is put back from the run's own records, or done
again, and nothing else is.

In: a run folder. Out: what was wrong, which stages were done again, and what could not be mended.
Where the data or the models are not what they were, nothing is done again: what is whole stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tutelage.errors import RunDamaged, TutelageError
from tutelage.export import FORMATS
from tutelage.export.subject import Package
from tutelage.recipes.certifying import Against, Over, certify_run
from tutelage.recipes.exporting import export_student
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import Until, names_on_record, run
from tutelage.recipes.verifying import verify_run
from tutelage.runs import RunFolder, Stage, lock, recorded
from tutelage.runs.contents import place_in, remove
from tutelage.runs.endings import ended, remove_broken_endings
from tutelage.targets import refuse_other_store
from tutelage.tasks import task_named
from tutelage.types import SILENT, Progress

BROKEN = ".broken"
"""What a recipe that is not the run's own is called behind its name, kept for the person."""
_EXPORTS, _CERTIFICATES = "exports/", "certificates/"
_CERTIFICATE_FACTS = {
    "disagreement", "confidence", "over", "against", "student", "per_class", "export", "rows",
    "price_per_million",
}  # fmt: skip
_NOT_MENDED = (
    "every stage of the recipe is done, and none of them makes these. A record that is not of this "
    "run can be removed"
)


@dataclass(frozen=True, slots=True)
class Repair:
    """What was wrong with a run, and what became of it."""

    run: Path
    problems: tuple[str, ...]
    """Each file that was not what it was, in words."""
    done: tuple[str, ...] = ()
    """Stages that were done again."""
    left: tuple[str, ...] = ()
    """Problems that are still there."""
    why: str = ""
    """Why they are."""


def repair_run(path: Path, *, dry_run: bool = False, progress: Progress = SILENT) -> Repair:
    """Find what is damaged in a run and make it whole.

    Args:
        path: The run folder.
        dry_run: Only find it.
        progress: Told what is done.

    Raises:
        RunIncomplete: It is no run folder.
        RunExists: Another process is at work there.
        RunDamaged: A later version wrote a record of it; the recipe is lost altogether; or nobody
            knows how an export or a certificate beside the recipe was asked for.
        TargetsMismatch: Somebody put whole targets that are not the run's own in their place.
        TutelageError: A stage that is done again failed.
    """
    problems = (*verify_run(path, progress=progress).problems, *lost_records(path))
    for stage in recorded(path):
        stage.require_known()
    if not problems or dry_run:
        return Repair(path, problems, left=problems)
    folder = RunFolder(path)
    with lock(path):
        _put_back_recipe(folder, progress)
        _put_back_texts(path, progress)
        _let_go(path, progress)
    made = {
        stage.name: None if stage.state == "broken" else stage.facts
        for stage in recorded(path)
        if stage.name.startswith((_EXPORTS, _CERTIFICATES))
    }
    done: list[str] = []
    if left := (*verify_run(path, progress=SILENT).problems, *lost_records(path)):
        recipe = load_recipe(folder.recipe_path)
        if why := _changed(recipe, folder, progress):
            return Repair(path, problems, left=left, why=why)
        outcome = run(recipe, out=path, until=_until(folder), progress=progress)
        done += [stage.name for stage in outcome.stages if stage.how != "kept"]
        done += _make_extras(path, made, recipe.export, progress)
        with lock(path):
            remove_broken_endings(folder)
        if left := (*verify_run(path, progress=SILENT).problems, *lost_records(path)):
            why = "; ".join(outcome.failed_exports) or _NOT_MENDED
            return Repair(path, problems, tuple(done), left, why=why)
    return Repair(path, problems, tuple(done))


def lost_records(path: Path) -> list[str]:
    """Records that must have been there, in words. `verify` cannot miss them: they may have been
    withdrawn, because what was measured was of other rows.
    """
    folder = RunFolder(path)
    names = {stage.name for stage in recorded(path)}
    expected = {name for _, finished in ended(folder) for name in finished.stages}
    if folder.recipe_path.exists():
        expected.add("recipe")
    if folder.provenance_path.exists():
        expected.add("provenance")
    if folder.certificates_path.exists():  # a certificate withdraws the page
        expected.discard("report")
    return [f".stages/{name}.json is gone" for name in sorted(expected - names)]


def _put_back_recipe(folder: RunFolder, progress: Progress) -> None:
    known, path = folder.recipe_record, folder.recipe_path
    kept = known.copies.get(path.name)
    if kept is None and not path.is_file():
        raise RunDamaged(
            f"{path} is lost, and so is its record {known.path}: nobody knows what the run did. "
            "Put one of them back from a copy"
        )
    if not (damages := known.damages()):
        return
    if path.is_file() and path.stat().st_size:
        aside = path.with_name(path.name + BROKEN)
        path.replace(aside)
        progress.say(f"{path} was not what the run wrote, and is kept as {aside.name}")
    known.restore(damages)
    progress.say(f"{damages[0]}: put back from the record of the run")


def _put_back_texts(path: Path, progress: Progress) -> None:
    for stage in recorded(path):
        if not (damages := stage.damages()):
            continue
        if stage.name == "targets":
            refuse_other_store(path / "targets", stage.copies)
        for damage in stage.restore(damages):
            progress.say(f"{damage}: put back from the record of {stage.name}")


def _let_go(path: Path, progress: Progress) -> None:
    """Strike out of the records what only people look at and only training makes."""
    for stage in recorded(path):
        lost = [damage for damage in stage.damages() if not damage.matters]
        if lost:
            for damage in lost:
                remove(place_in(path, damage.path))
                progress.say(
                    f"{damage}: curves for people, which only training draws; struck out of the "
                    f"record of {stage.name} (metrics.jsonl has the numbers)"
                )
            stage.forget([damage.path for damage in lost])


def _changed(recipe: Any, folder: RunFolder, progress: Progress) -> str:
    """Why the run's own stages cannot be done again, in words; empty if they can."""
    advice = "What is whole was left as it is. Put them back as they were, and repair again"
    try:
        job = task_named(recipe.task.kind).prepare(recipe, progress)
    except TutelageError as error:
        return f"the data or the models cannot be read: {error}. {advice}"
    prints = job.fingerprints
    now = {"evaluation": prints.evaluation}
    now |= {"teacher": prints.teacher} if job.fits_teacher else {}
    now |= {"targets": prints.targets} if job.stores_targets else {}
    students = names_on_record(prints, folder, folder.path.parent)
    now |= {student.stage: known for student, known in students.items()}
    others = [
        name
        for name, known in now.items()
        if folder.stage(name).record().get("fingerprint", known) != known
    ]
    if not others:
        return ""
    return (
        "the data or the models that the recipe names are not what they were when the run was "
        f"made ({', '.join(others)} would come out otherwise). {advice}; or, to have them made "
        f"from what is there now: tutelage run {folder.path}"
    )


def _until(folder: RunFolder) -> Until:
    """How far the run had come."""
    names = {stage.name for stage in recorded(folder.path)} | {until for until, _ in ended(folder)}
    if "report" in names or folder.report_path.exists():
        return "report"
    if "evaluation" in names or "evaluate" in names or folder.evaluation_path.exists():
        return "evaluate"
    if any(name.startswith("students/") for name in names) or "train" in names:
        return "train"
    return "label"


def _make_extras(
    path: Path,
    made: Mapping[str, Mapping[str, Any] | None],
    formats: Sequence[str],
    progress: Progress,
) -> list[str]:
    """Exports and certificates that commands made beside the recipe, where they are damaged.

    Args:
        path: The run folder.
        made: The facts of each, by the name of its stage; None: its record cannot be read.
        formats: That the recipe names: what is damaged of these is made as the recipe says.
        progress: Told what is done.

    Raises:
        RunDamaged: Of some of them nobody knows how they were asked for; all others were made.
    """
    done, unknown = [], []
    for name, facts in sorted(made.items(), key=lambda one: one[0], reverse=True):
        stage = Stage(path, name)
        if stage.state in ("summed", "unsummed") and not stage.damages():
            continue
        group, student, form = (*name.split("/"), "")[:3]
        asked = _asked_of_export(facts) if group == "exports" else _asked_of_certificate(facts)
        if asked is None and group == "exports" and form in formats:
            asked = {}  # as the recipe says
        if asked is None or (group == "exports" and form not in FORMATS):
            unknown.append(f".stages/{name}.json")
            continue
        progress.say(f"{name} is done again")
        if group == "exports":
            export_student(path, form, student=student, progress=progress, **asked)
        else:
            certify_run(path, progress=progress, **asked)
        done.append(name)
    if unknown:
        raise RunDamaged(
            f"{path / unknown[0]} cannot be read, so nobody knows how that export or certificate "
            f"was asked for{_more(unknown)}, and it is not made again. Remove the record, and make "
            "it anew: tutelage export, or tutelage certify"
        )
    return done


def _more(names: Sequence[str]) -> str:
    return f" (nor {', '.join(names[1:])})" if len(names) > 1 else ""


def _asked_of_export(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What `export_student` was given; None where the record does not tell."""
    if facts is None:
        return None
    rows, words, package = (facts.get(key) for key in ("rows", "instructions", "package"))
    if not (_is_text(rows) and _is_text(words)):
        return None
    if package is not None and not (
        isinstance(package, dict)
        and package.keys() <= {"name", "version"}
        and all(map(_is_text, package.values()))
    ):
        return None
    return {
        "rows": Path(rows) if rows else None,
        "instructions": words,
        "package": None if package is None else Package(**package),
    }


def _asked_of_certificate(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What `certify_run` was given; None where the record does not tell."""
    if facts is None:
        return None
    numbers = [facts.get(key) for key in ("disagreement", "confidence")]
    price = facts.get("price_per_million")
    if not (
        facts.keys() <= _CERTIFICATE_FACTS
        and all(isinstance(number, int | float) for number in numbers)
        and (price is None or isinstance(price, int | float))
        and facts.get("over") in get_args(Over)
        and facts.get("against") in get_args(Against)
        and isinstance(facts.get("per_class"), bool)
        and all(_is_text(facts.get(key)) for key in ("student", "rows", "export"))
    ):
        return None
    return {
        key: Path(value) if key in ("rows", "export") and value else value
        for key, value in facts.items()
    }


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)
