"""What a task says about its runs: all that the report and the terminal know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tutelage.report.curves import Learning
from tutelage.report.measures import Evaluation, Measures
from tutelage.report.plots import CostAxis, QualityAxis
from tutelage.report.scores import RowScores
from tutelage.report.verdict import Verdict

if TYPE_CHECKING:
    from tutelage.report.reading import Records

Tested = TypeVar("Tested")
"""What predictions.parquet of a task holds."""


@dataclass(frozen=True)
class Name:
    """What a model is called."""

    title: str
    """On the page."""
    short: str
    """On a terminal."""


@dataclass(frozen=True)
class Names:
    """What the models beside teacher and students are called."""

    control: Name
    """The same network as a student, trained without the teacher."""
    baselines: Mapping[str, Name] = field(default_factory=dict)
    """Simple methods, by their names in evaluation.json."""

    def baseline(self, name: str) -> Name:
        """What a simple method, or another student, is called."""
        return self.baselines.get(name) or Name(name, name)


@dataclass(frozen=True)
class Layout:
    """What a page is made of; templates of the task win over those of the report."""

    templates: Path
    """Folder with the task's own templates, `nav.html` among them: the links at the top."""
    parts: Sequence[str]
    """The sections by template, in the order of the page."""
    sheets: Sequence[str] = ()
    """The task's own style sheets."""


@dataclass(frozen=True)
class Phrases:
    """Words of a task that stand in the templates of the report."""

    unit: str
    """What the test data consists of: row, document."""
    tested: str
    """How many of them there are."""
    judged_on: str
    """What the intervals are over."""
    best: str
    """Which of several students the headline speaks of."""
    note: str
    """What must be known to read the large numbers, after the words on intervals; begins with a
    space."""
    alone: str
    """What controls are trained on."""
    price: str
    """What the table of cost holds."""
    plot: str
    """What else there is to know about the plot of quality against cost."""
    predicted: str
    """What one point of a calibration curve holds."""
    counted: str
    """The same in a word: rows, tokens."""
    answers: str
    """What a model is confident of."""
    learning: str
    """How to read the charts of training."""


class TaskWords(Protocol[Tested]):
    """What a task says; a new task brings one of these, with its templates, and nothing else."""

    @property
    def task(self) -> str:
        """Its name in evaluation.json."""
        ...

    @property
    def needed(self) -> Sequence[str]:
        """Keys of evaluation.json without which there is no page, beside teacher and students."""
        ...

    @property
    def measures(self) -> Measures:
        """All that it measures; tables, plots, verdict and terminal are drawn from this list."""
        ...

    @property
    def names(self) -> Names:
        """What the models beside teacher and students are called."""
        ...

    @property
    def terms(self) -> Sequence[tuple[str, str]]:
        """Words of the page that are not measures, each with its meaning."""
        ...

    @property
    def cost_axes(self) -> Sequence[CostAxis]:
        """The costs that quality is drawn against, in the order of the switch."""
        ...

    @property
    def layout(self) -> Layout:
        """What the page is made of."""
        ...

    def read_tested(self, path: Path, evaluation: Evaluation) -> Tested:
        """Read predictions.parquet, checked against the evaluation."""
        ...

    def row_scores(self, path: Path, evaluation: Evaluation) -> RowScores:
        """Read of predictions.parquet what runs are compared by, row by row."""
        ...

    def quality_axis(self, evaluation: Evaluation) -> QualityAxis:
        """The quality that is drawn against cost."""
        ...

    def phrases(self, evaluation: Evaluation) -> Phrases:
        """Words for the templates of the report."""
        ...

    def verdict(self, records: Records[Tested]) -> Verdict:
        """The top of the page, cautions included."""
        ...

    def learning(self, records: Records[Tested]) -> list[Learning]:
        """The charts of training."""
        ...

    def context(self, records: Records[Tested]) -> dict[str, Any]:
        """What its own templates are filled with, `data_files` and `data_columns` among it."""
        ...

    def legend(self, evaluation: Evaluation) -> str:
        """What must be known to read the table of the terminal."""
        ...
