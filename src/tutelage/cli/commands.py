"""What each command does: read its input, call one function, show the result."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tutelage.cli.certifying import certify
from tutelage.cli.exporting import export
from tutelage.cli.importing import import_answers
from tutelage.cli.managing import clean, compare, runs
from tutelage.cli.repairing import repair
from tutelage.cli.retraining import run as retrain
from tutelage.cli.streams import write_json, write_result
from tutelage.cli.targets import targets
from tutelage.cli.terminal import counted, format_seconds, progress_for, vars_of
from tutelage.errors import MOST_PROBLEMS, Problem, RecipeError
from tutelage.urls import is_remote, url_of


def init(options: argparse.Namespace) -> int:
    """`tutelage init`: write the commented recipe, never over an existing file."""
    from tutelage.runs import atomic_write_text
    from tutelage.runs.storage import require_utf8
    from tutelage.tasks import task_named

    task = task_named(options.task)
    require_utf8(options.recipe)
    if options.recipe.exists() or options.recipe.is_symlink():
        raise RecipeError(
            [Problem(str(options.recipe), "exists and is left as it is: give another name")]
        )
    atomic_write_text(options.recipe, task.template)
    if options.json:
        write_json({"recipe": str(options.recipe)})
    else:
        write_result(
            f"Wrote {options.recipe}. Edit {task.to_edit}, then: tutelage check {options.recipe}"
        )
    return 0


def check(options: argparse.Namespace) -> int:
    """`tutelage check`: every problem at once, and an estimate; nothing is trained or written."""
    from tutelage.recipes.loading import open_recipe
    from tutelage.tasks import task_named

    progress = progress_for(quiet=False)
    recipe, _ = open_recipe(options.recipe, overrides=options.overrides, progress=progress)
    progress = progress_for(quiet=options.quiet or options.json)
    found = task_named(recipe.task.kind).check(recipe, root=Path("runs"), progress=progress)
    errors = [problem for problem in found.problems if problem.severity == "error"]
    if options.json:
        problems = [vars_of(problem) for problem in found.problems]
        write_json({"ok": not errors, "problems": problems, "estimate": found.estimate})
        return 2 if errors else 0
    for problem in found.problems[:MOST_PROBLEMS]:
        write_result(f"{problem.severity}: {problem}")
    if (more := len(found.problems) - MOST_PROBLEMS) > 0:
        write_result(f"and {more:,} more")
    if errors:
        write_result(f"{len(errors)} to mend before this recipe can run.")
        return 2
    write_result(found.summary)
    return 0


def label(options: argparse.Namespace) -> int:
    """`tutelage label`: soft labels for a table of texts, or the flow up to the targets."""
    from tutelage.cli.labelling import is_of_texts, label_texts

    return label_texts(options) if is_of_texts(options) else run(options)


def run(options: argparse.Namespace) -> int:
    """`tutelage label | train | evaluate | report | run`: the flow up to a stage."""
    until = {"label": "label", "train": "train", "evaluate": "evaluate"}.get(
        options.command, "report"
    )
    from tutelage.recipes.loading import open_recipe

    told = progress_for(quiet=False)
    recipe, folder = open_recipe(options.recipe, overrides=options.overrides, progress=told)
    return _run_recipe(recipe, options, out=options.out or folder, until=until)


def _run_recipe(
    recipe: Any,
    options: argparse.Namespace,
    *,
    out: Path | None,
    until: Any,
    root: Path = Path("runs"),
) -> int:
    from tutelage.recipes.run import run as run_recipe

    progress = progress_for(quiet=options.quiet)
    outcome = run_recipe(recipe, out=out, root=root, until=until, progress=progress)
    folder = outcome.folder
    evaluation = (
        json.loads(folder.evaluation_path.read_text("utf-8"))
        if until in ("evaluate", "report")
        else None
    )
    stages = [
        {"name": stage.name, "how": stage.how, "seconds": round(stage.seconds, 3)}
        for stage in outcome.stages
    ]
    if options.json:
        record = {
            "run": str(folder.path),
            **({"url": url_of(out)} if out is not None and is_remote(out) else {}),
            "report": str(folder.report_path) if until == "report" else None,
            "stages": stages,
            "warnings": list(outcome.warnings),
            **({"failed_exports": list(outcome.failed_exports)} if outcome.failed_exports else {}),
            "teacher_held_out": outcome.teacher_held_out,
            "evaluation": evaluation,
        }
        write_json(record)
        return 1 if outcome.failed_exports else 0
    if evaluation is not None:
        from tutelage.cli.tables import results_table
        from tutelage.tasks import task_named

        write_result(results_table(evaluation, task_named(recipe.task.kind).words()))
    done = [stage for stage in outcome.stages if stage.how == "done"]
    took = sum(stage.seconds for stage in done)
    if done:
        rest = (
            "" if len(done) == len(stages) else f"; {len(stages) - len(done)} had been done before"
        )
        write_result(f"{counted(len(done), 'stages')} done in {format_seconds(took)}{rest}.")
    elif stages:
        write_result("Everything had been done before.")
    else:
        write_result(
            "Nothing to do: the teacher of these targets (kind live) answers while students train."
        )
    at = f"{url_of(out)}, worked on in " if out is not None and is_remote(out) else ""
    write_result(f"Run folder: {at}{folder.path}")
    if until == "report":
        write_result(f"Report:     {folder.report_path}")
    for reason in outcome.failed_exports:
        write_result(f"Not exported: {reason}")
    return 1 if outcome.failed_exports else 0


def is_given(options: argparse.Namespace, name: str) -> bool:
    """Whether a person gave an option that is off, or nothing, unless given."""
    return vars(options)[name] is not None and vars(options)[name] is not False


def demo(options: argparse.Namespace) -> int:
    """`tutelage demo`: fetch, write data and recipe, run."""
    from tutelage.recipes.demo import DEMOS
    from tutelage.recipes.loading import load_recipe
    from tutelage.runs.storage import require_utf8, storing

    progress = progress_for(quiet=options.quiet)
    chosen = DEMOS[options.task]
    for other in DEMOS.values():
        given = [name for name in other.options if is_given(options, name)]
        if other is not chosen and given:
            names = " and ".join(f"--{name}" for name in other.options)
            are, them = ("are", "them") if len(other.options) > 1 else ("is", "it")
            raise RecipeError(f"{names} {are} about {other.words}: leave {them} out")
    own = {name: vars(options)[name] for name in chosen.options}
    folder = options.out or Path(chosen.folder + ("-fast" if options.fast else ""))
    require_utf8(folder)
    with storing(folder):  # before anything is fetched
        folder.mkdir(parents=True, exist_ok=True)
    recipe_path = chosen.write(folder, seed=options.seed, progress=progress, **own)
    progress.say(f"Recipe: {recipe_path} (an ordinary one: change it and run it again)")
    return _run_recipe(
        load_recipe(recipe_path), options, out=None, until="report", root=folder / "runs"
    )


def predict(options: argparse.Namespace) -> int:
    """`tutelage predict`: label and probabilities for texts or a file, or what a language model
    writes after each.
    """
    from tutelage.recipes.predicting import answer_texts, predict_file

    progress = progress_for(quiet=options.quiet or options.json)
    if bool(options.text) == (options.file is not None):
        raise RecipeError("give texts to answer, or --file with a text column, and not both")
    if options.file is None:
        for name in ("out", "text_field", "spreadsheet_safe"):
            if is_given(options, name):
                raise RecipeError(
                    f"--{name.replace('_', '-')} is about --file, and here are texts alone: leave "
                    "it out, or give --file"
                )
    else:
        written = predict_file(
            options.folder,
            options.file,
            out=options.out,
            student=options.student,
            text_field=options.text_field,
            batch_size=options.batch_size,
            spreadsheet_safe=options.spreadsheet_safe,
            progress=progress,
        )
        if options.json:
            write_json(written)
            return 0
        write_result(
            f"{counted(written['rows'], 'rows')} answered by {written['student']}: {written['out']}"
        )
        if written["formulas"] and not options.spreadsheet_safe:
            write_result(
                f"Cells of it that begin as formulas do (=, +, -, @, a tab or a line end), which a "
                f"spreadsheet may compute: {written['formulas']:,}. With --spreadsheet-safe they "
                "get a ' in front"
            )
        return 0
    at_work, answers = answer_texts(
        options.folder, options.text, student=options.student, batch_size=options.batch_size
    )
    if options.json:
        told = [{"text": text, **one} for text, one in zip(options.text, answers, strict=True)]
        write_json(told)
        return 0
    for text, answer in zip(options.text, answers, strict=True):
        write_result(at_work.line(text, answer))
    return 0


def explain(options: argparse.Namespace) -> int:
    """`tutelage explain`: how far each word moved an answer, of a student or of the teacher; or
    whether that is what answers hang on.
    """
    from tutelage.recipes.explaining import (
        explain_file,
        explain_texts,
        explanation_lines,
        measure_faithfulness,
    )

    given = [bool(options.text), options.file is not None, options.faithfulness is not None]
    if sum(given) != 1:
        raise RecipeError(
            "give a text to explain, or --file with a text column, or --faithfulness N, and only "
            "one of them"
        )
    if options.teacher and options.student is not None:
        raise RecipeError(f"--teacher and --student {options.student} given: leave one out")
    if options.file is None:
        for name in ("out", "text_field"):
            if is_given(options, name):
                raise RecipeError(
                    f"--{name.replace('_', '-')} is about --file, and there is none: leave it out, "
                    "or give --file"
                )
    shared: dict[str, Any] = {
        "student": options.student,
        "teacher": options.teacher,
        "method": options.method,
        "progress": progress_for(quiet=options.quiet or options.json),
    }
    if options.faithfulness is not None:
        found = measure_faithfulness(options.folder, options.faithfulness, **shared)
        if options.json:
            write_json(found)
        else:
            value, low, high = (found["difference"][key] for key in ("value", "low", "high"))
            write_result(
                f"{found['explained']} by {found['method']}, "
                f"{counted(found['texts'], 'test rows')}: leaving out first the words that spoke "
                f"for an answer takes {value:.3f} [{low:.3f}, {high:.3f}] more of its probability "
                "than a random order (area between the deletion curves; 0: no better than chance)"
            )
        return 0
    if options.file is not None:
        written = explain_file(
            options.folder, options.file, out=options.out, text_field=options.text_field, **shared
        )
        if options.json:
            write_json(written)
        else:
            write_result(
                f"{counted(written['rows'], 'rows')} of {written['explained']} explained by "
                f"{written['method']}: {written['out']}"
            )
        return 0
    told = explain_texts(options.folder, options.text, **shared)
    if options.json:
        write_json(told)
        return 0
    for one in told:
        for line in explanation_lines(one, top=options.top):
            write_result(line)
    return 0


def verify(options: argparse.Namespace) -> int:
    """`tutelage verify`: exit 1 and name each file of a run that is not what its stage left."""
    from tutelage.recipes.verifying import verify_run
    from tutelage.report.formats import plain_bytes

    found = verify_run(options.folder, progress=progress_for(quiet=options.quiet or options.json))
    if options.json:
        record = {
            "ok": not found.problems,
            "run": str(found.path),
            "stages": [asdict(stage) for stage in found.stages],
            "without_sums": found.without_sums,
        }
        write_json(record)
        return 1 if found.problems else 0
    widest = max(len(stage.name) for stage in found.stages)
    for stage in found.stages:
        said = counted(len(stage.problems), "problems") if stage.problems else "as it was made"
        if not stage.has_sums:
            said = "made by a version that kept no checksums"
        size = f"{counted(stage.files, 'files'):>9} {plain_bytes(stage.bytes):>10}"
        write_result(f"{stage.name:<{widest}}  {size}  {said}")
    for problem in found.problems:
        write_result(problem)
    if found.without_sums:
        write_result(f"To record checksums from now on: tutelage run {found.path}")
    if found.problems:
        write_result(f"To make again what is damaged: tutelage repair {found.path}")
    return 1 if found.problems else 0


def serve(options: argparse.Namespace) -> int:
    """Serve exported students; the runtime reads the words."""
    from tutelage_runtime.serving.command import main

    return main(options.words, program="tutelage serve")


def release(options: argparse.Namespace) -> int:
    """Put versions in service; the runtime reads the words."""
    from tutelage_runtime.releasing import main

    return main(options.words, program="tutelage release")


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": init,
    "check": check,
    "label": label,
    "train": run,
    "evaluate": run,
    "report": run,
    "run": run,
    "predict": predict,
    "explain": explain,
    "certify": certify,
    "export": export,
    "verify": verify,
    "repair": repair,
    "runs": runs,
    "compare": compare,
    "clean": clean,
    "import": import_answers,
    "serve": serve,
    "release": release,
    "retrain": retrain,
    "targets": targets,
    "demo": demo,
}
"""Every command word and what it does."""
