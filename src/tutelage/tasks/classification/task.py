"""Classification as a task: what its recipes are, how one is checked, how its students answer.

Nothing here needs torch before it is asked to do something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.config.source import Source
from tutelage.errors import Problem
from tutelage.export import Origin
from tutelage.runs import RunFolder
from tutelage.tasks.classification.recipe import Recipe, classification_problems
from tutelage.tasks.classification.template import TEMPLATE
from tutelage.tasks.task import architectures
from tutelage.types import Progress

if TYPE_CHECKING:
    from tutelage.students.classifier.answering import Classifier
    from tutelage.tasks.classification.job import ClassificationJob
    from tutelage.tasks.classification.report.page import ClassificationWords
    from tutelage.tasks.estimates import Check


@dataclass(frozen=True)
class Classification:
    """See `tasks.task.Task`."""

    kind: str = "classification"
    recipe: type[Recipe] = Recipe
    template: str = TEMPLATE
    to_edit: str = "data and labels"
    best_metric: tuple[str, bool] = ("accuracy", True)
    at_work: str = "Predicting"
    texts_at_once: int = 4096

    def recipe_problems(self, source: Source) -> list[Problem]:
        """Verbalizers that do not fit the labels, keys that do not fit their divergence."""
        return classification_problems(source)

    def check(self, recipe: Recipe, *, root: Path, progress: Progress) -> Check:
        """Every problem of data and models, and an estimate of time and disk."""
        from tutelage.tasks.classification.checking import check_recipe

        return check_recipe(recipe, root=root, progress=progress)

    def inputs(self, recipe: Recipe) -> str:
        """Recipe, data files and models as they are now."""
        from tutelage.tasks.classification.data import classification_inputs

        return classification_inputs(recipe)

    def prepare(self, recipe: Recipe, progress: Progress) -> ClassificationJob:
        """Read the rows and find the models."""
        from tutelage.tasks.classification.job import ClassificationJob

        del progress
        return ClassificationJob(recipe)

    def made(self, folder: Path) -> bool:
        """Whether the model in a folder classifies."""
        return any("Classification" in name for name in architectures(folder))

    def load(self, folder: Path, recipe: Any) -> Classifying:
        """A classifier from its folder."""
        from tutelage.students import load_classifier

        del recipe
        return Classifying(load_classifier(folder))

    def origin(self, recipe: Recipe, folder: RunFolder) -> Origin:
        """Question, rows and numbers of a run."""
        from tutelage.tasks.classification.exporting import origin_of

        return origin_of(recipe, folder)

    def text_column(self, recipe: Recipe) -> str | None:
        """Where the texts stand."""
        return recipe.data.text_field

    def words(self) -> ClassificationWords:
        """What is said of a run."""
        from tutelage.tasks.classification.report import WORDS

        return WORDS


@dataclass(frozen=True)
class Classifying:
    """A classifier at work; see `tasks.task.Answering`."""

    predictor: Classifier

    def answer(self, texts: Sequence[str], *, batch_size: int) -> list[dict[str, Any]]:
        """`{"label", "probabilities": {label: p}}` for each text."""
        labels = self.predictor.labels
        return [
            {
                "label": labels[int(row.argmax())],
                "probabilities": {
                    label: float(prob) for label, prob in zip(labels, row, strict=True)
                },
            }
            for row in self.predictor.probs(texts, batch_size=batch_size)
        ]

    def columns(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """`label`, and `p_LABEL` for every class."""
        probabilities = {f"p_{label}": prob for label, prob in answer["probabilities"].items()}
        return {"label": answer["label"], **probabilities}

    def line(self, text: str, answer: Mapping[str, Any]) -> str:
        """Label, probabilities and text, for a terminal."""
        probs = "  ".join(f"{label} {prob:.3f}" for label, prob in answer["probabilities"].items())
        return f"{answer['label']}\t{probs}\t{text}"


TASK = Classification()
"""The task."""
