"""Language modelling as a task: what its recipes are, how one is checked, how its students answer.

Nothing here needs torch before it is asked to do something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.config.source import Source
from tutelage.errors import ModelError, Problem, RecipeError
from tutelage.export import Origin, Rows
from tutelage.runs import RunFolder, read_json
from tutelage.tasks.language.recipe import LanguageRecipe, language_problems
from tutelage.tasks.language.template import TEMPLATE
from tutelage.tasks.task import architectures
from tutelage.types import Progress

if TYPE_CHECKING:
    from tutelage.tasks.estimates import Check
    from tutelage.tasks.language.job import LanguageJob
    from tutelage.tasks.language.report.page import LanguageWords
    from tutelage.tasks.language.text_job import TextJob
    from tutelage.tasks.language.writing import Writer

MOST_TEXTS = 64
"""Test documents on which an export is held against its student."""


@dataclass(frozen=True)
class LanguageModelling:
    """See `tasks.task.Task`."""

    kind: str = "causal_lm"
    recipe: type[LanguageRecipe] = LanguageRecipe
    template: str = TEMPLATE
    to_edit: str = "data and students"
    best_metric: tuple[str, bool] = ("nats_per_token", False)
    at_work: str = "Writing"
    texts_at_once: int = 1

    def recipe_problems(self, source: Source) -> list[Problem]:
        """Objectives that the targets cannot serve."""
        return language_problems(source)

    def check(self, recipe: LanguageRecipe, *, root: Path, progress: Progress) -> Check:
        """Every problem of data and models, and an estimate of time, disk and memory."""
        from tutelage.tasks.language.checking import check_language_recipe
        from tutelage.tasks.language.text_checking import check_text_recipe

        if recipe.targets.kind == "text":
            return check_text_recipe(recipe, root=root, progress=progress)
        return check_language_recipe(recipe, root=root, progress=progress)

    def inputs(self, recipe: LanguageRecipe) -> str:
        """Recipe, data files and models as they are now."""
        from tutelage.tasks.language.data import language_inputs

        return language_inputs(recipe)

    def prepare(self, recipe: LanguageRecipe, progress: Progress) -> LanguageJob | TextJob:
        """Read the documents, or the prompts, and find the models."""
        from tutelage.tasks.language.job import LanguageJob
        from tutelage.tasks.language.text_job import TextJob

        del progress
        return TextJob(recipe) if recipe.targets.kind == "text" else LanguageJob(recipe)

    def made(self, folder: Path) -> bool:
        """Whether the model in a folder writes text."""
        endings = ("ForCausalLM", "LMHeadModel")
        return any(name.endswith(endings) for name in architectures(folder))

    def load(self, folder: Path, recipe: Any) -> Continuing:
        """A language model from its folder; in a run, texts are read as its data was."""
        from tutelage.tasks.language.writing import Writer

        return Continuing(Writer.load(folder, recipe))

    def origin(self, recipe: LanguageRecipe, folder: RunFolder) -> Origin:
        """Who taught the students of a run, and how good they were."""
        teacher = {"kind": recipe.teacher.kind, **folder.stage("teacher").facts}
        measured = folder.evaluation_path.is_file()
        return Origin(
            tested=_tested(recipe),
            facts={"teacher": teacher},
            numbers=read_json(folder.evaluation_path)["students"] if measured else {},
        )

    def text_column(self, recipe: LanguageRecipe) -> str | None:
        """Where the texts stand; where there are prompts with responses, the prompt."""
        return recipe.data.text_field or recipe.data.prompt_field

    def words(self) -> LanguageWords:
        """What is said of a run."""
        from tutelage.tasks.language.report import WORDS

        return WORDS


@dataclass(frozen=True)
class Continuing:
    """A language model at work; see `tasks.task.Answering`."""

    writer: Writer

    def answer(self, texts: Sequence[str], *, batch_size: int) -> list[dict[str, Any]]:
        """`{"continuation"}` for each text."""
        del batch_size  # one text at a time
        return [{"continuation": self.writer.write(text)} for text in texts]

    def columns(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """`continuation`."""
        return dict(answer)

    def line(self, text: str, answer: Mapping[str, Any]) -> str:
        """The text and how it goes on, for a terminal."""
        return f"{text}{answer['continuation']}"


TASK = LanguageModelling()
"""The task."""


def _tested(recipe: LanguageRecipe) -> Rows | None:
    """Some texts of the test documents; None where they are not there any more, or are prompts that
    a teacher answers.
    """
    from tutelage.tasks.language.data import prepare_language_data, teacher_tokenizer

    if recipe.targets.kind == "text":
        return None
    try:
        tokenizer = teacher_tokenizer(recipe)
        documents = prepare_language_data(recipe, tokenizer).test[:MOST_TEXTS]
    except (RecipeError, ModelError, OSError):
        return None
    return Rows([tokenizer.decode(one.token_ids) for one in documents])
