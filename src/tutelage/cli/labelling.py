"""`tutelage label FILE`: soft labels for a table of texts; its options, and what it shows."""

from __future__ import annotations

import argparse
from pathlib import Path

from tutelage.cli.streams import write_json, write_result
from tutelage.errors import RecipeError

TEXT_FILES = (".csv", ".tsv", ".jsonl", ".parquet")
"""Endings of what is no recipe but a table of texts."""
KINDS = ("prompted", "classifier")
"""Teachers that need no rows; others are described by a recipe."""
_OWN = ("labels", "model", "kind", "instruction", "text_field", "teacher_of")
_OF_A_MODEL = ("labels", "model", "kind", "instruction")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `label` is given about a file of texts."""
    texts = parser.add_argument_group(
        "a table of texts instead of a recipe",
        "label FILE writes the same table with a label and a probability for every class: "
        "with --labels and --model, or with the teacher of --recipe",
    )
    texts.add_argument("--labels", metavar="A,B,C", help="the class names")
    texts.add_argument("--model", help="a folder, a .gguf file, a hub id, or package:NAME")
    texts.add_argument(
        "--kind",
        choices=KINDS,
        help="prompted: a language model that is asked; classifier: one that classifies already, "
        "or a saved teacher [prompted]",
    )
    texts.add_argument(
        "--instruction", help="what a prompted model is asked to do [made from the labels]"
    )
    texts.add_argument(
        "--recipe",
        dest="teacher_of",
        type=Path,
        metavar="RECIPE",
        help="a recipe or a run folder whose teacher answers, fitted if a run has fitted it",
    )
    texts.add_argument("--text-field", help="text column [the one of the recipe, else text]")


def is_of_texts(options: argparse.Namespace) -> bool:
    """Whether `label` was given a table of texts.

    Raises:
        RecipeError: It was given a recipe, and options that are about texts.
    """
    if options.recipe.suffix.lower() in TEXT_FILES:
        return True
    for name in _OWN:
        if getattr(options, name) is not None:
            raise RecipeError(
                f"{_word(name)} is about a table of texts ({', '.join(TEXT_FILES)}), and "
                f"{options.recipe} is a recipe: leave it out, or give the table"
            )
    return False


def label_texts(options: argparse.Namespace) -> int:
    """`tutelage label FILE`: read, ask, write, and say what came out."""
    from tutelage.cli.terminal import counted, progress_for
    from tutelage.data.limits import USUAL
    from tutelage.recipes.labelling import label_file, teacher_named, teacher_of_recipe

    progress = progress_for(quiet=options.quiet or options.json)
    text_field, limits = options.text_field, USUAL
    if options.teacher_of is None:
        if options.labels is None or options.model is None:
            raise RecipeError(
                "label FILE needs to know the labels and who answers: give --labels A,B,C and "
                "--model MODEL, or --recipe RECIPE"
            )
        if options.overrides:
            raise RecipeError("--set is about a recipe, and there is none: leave it out")
        teacher = teacher_named(
            options.model,
            [label.strip() for label in options.labels.split(",")],
            kind=options.kind or KINDS[0],
            instruction=options.instruction,
        )
    else:
        for name in _OF_A_MODEL:
            if getattr(options, name) is not None:
                raise RecipeError(
                    f"{_word(name)} and --recipe given, which says it too: leave one out (to "
                    "change a key of the recipe: --set KEY=VALUE)"
                )
        from tutelage.recipes.loading import open_recipe

        told = progress_for(quiet=False)
        recipe, run = open_recipe(options.teacher_of, overrides=options.overrides, progress=told)
        teacher = teacher_of_recipe(recipe, run=run)
        text_field, limits = text_field or recipe.data.text_field, recipe.data.limits
    done = label_file(
        options.recipe,
        teacher,
        out=options.out,
        text_field=text_field or "text",
        limits=limits,
        progress=progress,
    )
    if options.json:
        write_json(done)
        return 0
    shares = ", ".join(
        f"{label} {counted(count, 'rows')} (mean {done['mean'][label]:.3f})"
        for label, count in done["counts"].items()
    )
    write_result(f"{counted(done['rows'], 'rows')} labelled by {done['teacher']}: {done['out']}")
    write_result(f"{shares}; mean entropy {done['entropy_nats']:.3f} nats")
    if done["unanswered"]:
        write_result(f"{counted(done['unanswered'], 'rows')} were not answered and are empty")
    return 0


def _word(name: str) -> str:
    return "--recipe" if name == "teacher_of" else f"--{name.replace('_', '-')}"
